import { type EntryWriter, contentOf } from '../archive/write/entry-writer.js';
import { OciLayoutWriter } from '../archive/write/oci-layout-writer.js';
import { firstNames } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { dockerManifest, dockerManifestList, isForeignLayer, isImageConfig } from '../oci/media-types.js';
import { matchPlatform, type Platform } from '../oci/platform.js';
import { readManifest } from '../oci/read.js';
import { formatReference, type Reference } from '../oci/reference.js';
import { changedSource, type Image } from '../oci/source.js';
import { type BlobNode, type ManifestNode, Planner } from '../plan/planner.js';
import type { RunnableImage } from '../plan/runnable-images.js';
import type { SaveJob } from './job.js';
import type { SourceImage } from './source.js';

export interface SaveOciOptions {
  /** Platforms to keep; default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  readonly skipMissingPlatforms?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

function byDigest(a: { descriptor: Descriptor }, b: { descriptor: Descriptor }): number {
  return a.descriptor.digest < b.descriptor.digest ? -1 : 1;
}

/** Adds a config or layer, except a foreign layer that the source lacks. */
async function addBlob(
  job: SaveJob,
  writer: OciLayoutWriter,
  reference: Reference,
  descriptor: Descriptor,
): Promise<void> {
  if (isForeignLayer(descriptor.mediaType) && !job.hasForeign(descriptor)) return;
  if (!writer.has(descriptor.digest)) await writer.addBlob(descriptor, job.content(reference, descriptor));
}

/**
 * Writes images as an OCI image layout, with indexes of the chosen platforms; unchanged indexes if all platforms are chosen.
 * @returns the number of images written
 */
export async function saveOciLayout(
  job: SaveJob,
  to: EntryWriter,
  { platforms, skipMissingPlatforms, signal }: SaveOciOptions,
): Promise<number> {
  const writer = await OciLayoutWriter.begin(to);
  let blobs: BlobNode[] = [];
  let manifests: ManifestNode[] = [];
  const sink = {
    has: (digest: Digest) => writer.has(digest) || blobs.some((node) => node.descriptor.digest === digest),
    addBlob: (node: BlobNode) => void blobs.push(node),
    addManifest: (node: ManifestNode) => void manifests.push(node),
  };
  const warn = (text: string): void => job.warn(text);
  let resolved: Descriptor | undefined;
  const source = changedSource(job.source, {
    // The tag may have changed since the image was resolved.
    resolve: (reference, options) =>
      resolved === undefined ? job.source.resolve(reference, options) : Promise.resolve(resolved),
  });
  const planner = new Planner(source, sink, { platforms, skipMissingPlatforms, warn, signal });
  const planned = async ({ reference, root }: SourceImage): Promise<Image> => {
    resolved = root;
    const whole: Image = { reference, root };
    if (platforms === undefined) await planner.planImage(whole);
    return platforms === undefined ? whole : ((await planner.plan({ reference }))[0] ?? whole);
  };
  let written = 0;
  const dockers: string[] = [];
  for (const image of job.images()) {
    job.checkInterrupted();
    const { root } = await planned(image);
    // Manifests are planned concurrently; sorting them by digest makes the output the same for the same images.
    for (const { descriptor, bytes, isOriginal } of manifests.sort(byDigest))
      if (isOriginal !== true) await writer.addBlob(descriptor, contentOf(bytes));
    for (const { descriptor } of blobs.sort(byDigest))
      await addBlob(job, writer, image.reference, descriptor);
    blobs = [];
    manifests = [];
    const name = job.names.nameOf(image.reference);
    writer.addImage(name, root);
    if (dockerTypes.has(root.mediaType)) dockers.push(formatReference(name));
    job.done(name, root, ++written);
  }
  await writer.end();
  warnOfDockerTypes(job, dockers, written);
  return written;
}

/** Media types that skopeo 1.9 and podman 4.3 skip when they look for a name in `index.json`; skopeo 1.22 finds them. */
const dockerTypes: ReadonlySet<string> = new Set([dockerManifest, dockerManifestList]);
const maxNamesShown = 10;

function warnOfDockerTypes(job: SaveJob, names: readonly string[], images: number): void {
  if (names.length === 0) return;
  const list = firstNames(names, maxNamesShown);
  job.warn(
    images === 1
      ? `${list}: older skopeo and podman do not find an image of Docker's media type by its name; leave the name out: oci-archive:FILE or oci:DIRECTORY`
      : `${list}: older skopeo and podman do not find images of Docker's media types among others; save each alone with \`images\`, or with \`format: 'docker-archive'\``,
  );
}

/**
 * Returns the names under which nodes look for an image: its tag, then `REPOSITORY@DIGEST` for each digest that a pod may pin. The kubelet
 * ignores the tag of a name that has both.
 */
export function nodeNames({ reference, root, original }: Image, named = reference): Reference[] {
  const { registry, repository, tag } = named;
  const digests = [reference.digest, original?.digest, root.digest].filter((digest) => digest !== undefined);
  const pinned = [...new Set(digests)].map((digest) => ({ registry, repository, digest }));
  return tag === undefined ? pinned : [{ registry, repository, tag }, ...pinned];
}

/**
 * Adds the manifest of an image for one platform, its config and its layers, unless they were added before.
 * @returns config and layers of a runnable image; undefined for others
 */
export async function addImageBlobs(
  job: SaveJob,
  writer: OciLayoutWriter,
  reference: Reference,
  found: Descriptor,
): Promise<{ readonly config: Digest; readonly layers: readonly Digest[] } | undefined> {
  const { manifest, bytes } = await readManifest(job.source, reference, found);
  await writer.addBlob(found, contentOf(bytes));
  if (manifest.kind !== 'manifest') return undefined;
  const { config, layers } = manifest;
  if (config !== undefined) await addBlob(job, writer, reference, config);
  for (const layer of layers) await addBlob(job, writer, reference, layer);
  if (config === undefined || !isImageConfig(config.mediaType)) return undefined;
  return { config: config.digest, layers: layers.map(({ digest }) => digest) };
}

/**
 * Writes the images for one platform, each under its names and without an index, for containerd to import on a node.
 * @param lacking called for images that are not for the platform
 * @returns the number of images written
 */
export async function saveForNode(
  job: SaveJob,
  to: EntryWriter,
  platform: Platform,
  lacking: (image: SourceImage, images: readonly RunnableImage[]) => void,
): Promise<number> {
  const writer = await OciLayoutWriter.begin(to);
  const written = new Set<string>();
  let count = 0;
  for (const image of job.images()) {
    job.checkInterrupted();
    const { reference } = image;
    const images = await job.runnable(image);
    const [found] = matchPlatform(platform, images);
    if (found === undefined) {
      lacking(image, images);
      continue;
    }
    const names = nodeNames(image, job.names.nameOf(reference));
    const blobs = await addImageBlobs(job, writer, reference, found);
    const [name = reference] = names;
    // RKE2 finds its runtime image only in manifest.json; containerd reads index.json.
    if (blobs !== undefined && name.tag !== undefined) writer.addSaved(name, blobs.config, blobs.layers);
    const { mediaType, digest, size } = found;
    for (const each of names) {
      const text = formatReference(each);
      // Two tags of one image have the same names by digest.
      if (written.has(text)) continue;
      writer.addImage(each, { mediaType, digest, size, platform: found.platform });
      written.add(text);
    }
    job.done(name, found, ++count);
  }
  await writer.end();
  return count;
}

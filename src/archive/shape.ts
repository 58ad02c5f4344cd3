import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { isIndex, isManifest, ociLayer } from '../oci/media-types.js';
import { isTag } from '../oci/reference.js';
import type { ArchiveShape, ShapeReader } from './archive.js';
import type { Compression } from './compression.js';
import { DockerArchive, readSavedImages, type SavedImage } from './docker-archive.js';
import type { LayerMemory } from './layer-memory.js';
import { LayerStore, type ManifestFormat } from './layer-store.js';
import { LayoutWithSaved } from './layout-with-saved.js';
import { readMember, type Members } from './members.js';
import { blobPath, OciLayout, readLayoutIndex } from './oci-layout.js';

export interface ShapeOptions {
  readonly tmpDir?: string | undefined;
  readonly layerCompression?: Compression | undefined;
  readonly manifestFormat?: ManifestFormat | undefined;
  readonly layerMemory?: LayerMemory | undefined;
  readonly warn?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Paths looked at to find out what an archive is instead. */
const maxLooked = 10_000;

/** What else people have in tar files, by a file that is in it. */
const others: readonly (readonly [path: string, what: string, hint: string | undefined])[] = [
  ['repositories', 'saved by a docker older than 1.10', 'load it with a docker up to 25 and save it again'],
  ['etc/os-release', 'a root file system, as docker export writes it', 'write images with docker save'],
  ['bin/sh', 'a root file system, as docker export writes it', 'write images with docker save'],
  ['Chart.yaml', 'a Helm chart', undefined],
];

async function notImages(members: Members): Promise<AirliftError> {
  for (const [path, what, hint] of others) {
    if ((await members.find(path).catch(() => undefined)) !== undefined)
      return new AirliftError('unsupported', `read ${members.file}: ${what}`, { hint });
  }
  let looked = 0;
  for await (const path of members.below('')) {
    if (looked++ > maxLooked) break;
    const folder = /^(.+)\/(?:index|manifest)\.json$/.exec(path)?.[1];
    if (folder === undefined) continue;
    return new AirliftError('input', `read ${members.file}: the images are below ${JSON.stringify(folder)}`, {
      hint: `pack the archive from inside that folder: tar -C ${folder} -cf FILE.tar .`,
    });
  }
  return new AirliftError(
    'input',
    `read ${members.file}: not an archive of images: neither manifest.json nor index.json is in it`,
    { hint: members.missingHint },
  );
}

/**
 * Whether OCI manifests are those that docker ≥ 25 makes up while it saves images of its classic store: no index above them, and
 * layers uncompressed, or, in 25.0, none at all. No registry has ever had these.
 */
async function isClassicStore(members: Members, entries: readonly Descriptor[]): Promise<boolean> {
  for (const entry of entries) {
    // Docker has a tag there. A full name is podman's, skopeo's or airlift's way, whose manifests are a registry's.
    const refName = entry.annotations?.['org.opencontainers.image.ref.name'];
    if (isIndex(entry.mediaType) || (refName !== undefined && !isTag(refName))) return false;
    const path = blobPath(entry.digest);
    const bytes = await readMember(members, path, maxManifestSize);
    if (bytes === undefined) continue;
    const mediaType = isManifest(entry.mediaType) ? entry.mediaType : undefined;
    const manifest = parseManifest(bytes, mediaType, `${path} in ${members.file}`);
    if (
      manifest.kind === 'index' ||
      manifest.layers.some((layer) => layer.mediaType !== ociLayer && layer.urls === undefined)
    )
      return false;
  }
  return true;
}

/**
 * Tells what shape an archive has, by what is in it.
 * @throws AirliftError `input` or `unsupported` where it is no archive of images
 */
export async function readerFor(
  members: Members,
  options: ShapeOptions,
): Promise<{ shape: ArchiveShape; reader: ShapeReader }> {
  const { manifestFormat: format = 'oci', layerCompression: compression = 'gzip' } = options;
  const warn = (text: string): void => options.warn?.(`${members.file}: ${text}`);
  const saved = await readSavedImages(members);
  const entries = await readLayoutIndex(members);
  if (saved === undefined && entries === undefined) throw await notImages(members);
  const fromSaved = (images: readonly SavedImage[]): DockerArchive => {
    const { tmpDir, layerMemory: memory, signal } = options;
    const layers = new LayerStore({ compression, format, tmpDir, memory, signal });
    return new DockerArchive(members, images, layers, { format, warn });
  };
  if (
    saved !== undefined &&
    (entries === undefined || entries.length === 0 || (await isClassicStore(members, entries)))
  )
    return { shape: 'docker-archive', reader: fromSaved(saved) };
  const layout = new OciLayout(members, entries ?? [], warn);
  const reader = saved === undefined ? layout : new LayoutWithSaved(layout, saved, fromSaved);
  return { shape: 'oci-layout', reader };
}

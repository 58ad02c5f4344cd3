import type { Readable } from 'node:stream';
import type { Compression } from '../compression/decompress.js';
import type { ArchiveShape, FoundImage, ShapeReader } from './archive.js';
import { FolderMembers, type LayoutView } from './blob-view.js';
import { DockerArchive, readManifestJson, type ManifestJson, type SavedImage } from './docker-archive.js';
import { imgpkgArchive } from './imgpkg.js';
import { LayerStore, type LayerMemory, type ManifestFormat } from './layer-store.js';
import { readMember, type Members } from './members.js';
import { findNested, severalInside, type Nested } from './nested.js';
import { OciLayout, readLayoutIndex } from './oci-layout.js';
import { registryTree } from './registry-tree.js';
import { skopeoTree } from './skopeo-tree.js';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { hexOf, type Digest } from '../../oci/digest.js';
import { blobPath } from '../../oci/image-layout.js';
import { maxManifestSize, parseManifest } from '../../oci/manifest.js';
import { isIndex, isManifest, ociLayer } from '../../oci/media-types.js';
import { isTag } from '../../oci/reference.js';

/**
 * An OCI layout that has a `manifest.json` too. The layout is what is read; but some versions of docker leave images out of
 * `index.json` where several are saved by digest, and these are taken from `manifest.json`.
 */
export class LayoutWithSaved implements ShapeReader {
  #rest: DockerArchive | undefined;

  constructor(
    private readonly layout: OciLayout,
    private readonly saved: readonly SavedImage[],
    private readonly readSaved: (saved: readonly SavedImage[]) => DockerArchive,
  ) {}

  async *images(): AsyncGenerator<FoundImage> {
    const configs = new Set<string>();
    for await (const image of this.layout.images()) {
      for (const { config } of image.children) if (config !== undefined) configs.add(hexOf(config));
      yield image;
    }
    const rest = this.saved.filter(({ config }) => !configs.has(config.slice(config.lastIndexOf('/') + 1)));
    if (rest.length === 0) return;
    this.#rest = this.readSaved(rest);
    yield* this.#rest.images();
  }

  async holds(descriptor: Descriptor): Promise<boolean> {
    return (await this.layout.holds(descriptor)) || ((await this.#rest?.holds(descriptor)) ?? false);
  }

  async open(descriptor: Descriptor, offset: number): Promise<Readable | undefined> {
    return (await this.layout.open(descriptor, offset)) ?? this.#rest?.open(descriptor, offset);
  }

  referrers(digest: Digest): AsyncIterable<Descriptor> {
    return this.layout.referrers(digest);
  }

  async close(): Promise<void> {
    await this.layout.close();
    await this.#rest?.close();
  }
}

export interface ShapeOptions {
  readonly tmpDir?: string | undefined;
  readonly layerCompression?: Compression | undefined;
  readonly manifestFormat?: ManifestFormat | undefined;
  readonly layerMemory?: LayerMemory | undefined;
  readonly warn?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What else people have in tar files, by a file that is in it. */
const others: readonly (readonly [path: string, what: string, hint: string])[] = [
  [
    'etc/os-release',
    'a root file system, as written by docker export, not images',
    'create the archive with docker save',
  ],
  [
    'bin/sh',
    'a root file system, as written by docker export, not images',
    'create the archive with docker save',
  ],
  ['repositories', 'written by docker before 1.10', 'load it with docker 25 or older and save it again'],
];

async function refuseOthers(members: Members): Promise<void> {
  for (const [path, what, hint] of others) {
    if ((await members.find(path).catch(() => undefined)) === undefined) continue;
    throw new AirliftError('unsupported', `read ${members.file}: ${what}`, { hint });
  }
}

function notImages(members: Members, nested: Nested, manifest: ManifestJson | undefined): AirliftError {
  const { archives, chart } = nested;
  if (archives.length > 0) return severalInside(members, archives);
  if (chart !== undefined) {
    return new AirliftError('unsupported', `read ${members.file}: a Helm chart, not images`, {
      hint: `helm push ${members.file} oci://SITE`,
    });
  }
  if (manifest?.by === 'others') return new AirliftError('input', `parse ${manifest.what}: not a list`);
  return new AirliftError(
    'input',
    `read ${members.file}: not an archive of images: it contains neither manifest.json nor index.json`,
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

/** A shape, and its reader. */
interface Shaped {
  readonly shape: ArchiveShape;
  readonly reader: ShapeReader;
}

/** Reads the images that are below the root of an archive: in one folder, or in a tree of several that belong together. */
async function nestedReader(
  members: Members,
  manifest: ManifestJson | undefined,
  options: ShapeOptions,
  warn: (text: string) => void,
): Promise<Shaped> {
  if (manifest === undefined) await refuseOthers(members);
  const nested = await findNested(members, options.signal);
  const { registry, folders, skopeo, archives } = nested;
  const viewed = (view: LayoutView): Shaped => {
    return { shape: 'oci-layout', reader: new OciLayout(view.members, view.entries, warn) };
  };
  if (registry !== undefined) return viewed(await registryTree(members, registry, warn, options.signal));
  const isZarf = (await members.find('zarf.yaml')) !== undefined;
  // The archives in a zarf package hold its components, not images.
  const inside = [...folders, ...skopeo, ...(isZarf ? [] : archives)];
  const isOne = inside.length === 1 || inside.length === skopeo.length;
  if (folders.length + skopeo.length > 0 && !isOne) throw severalInside(members, inside);
  if (skopeo.length > 0) return viewed(await skopeoTree(members, skopeo, warn, options.signal));
  const [folder] = folders;
  if (folder === undefined) throw notImages(members, nested, manifest);
  return readerFor(new FolderMembers(members, folder), options, isZarf);
}

/**
 * Tells what shape an archive has, by what is in it.
 * @param isZarf whether it is inside a zarf package
 * @throws AirliftError `input` or `unsupported` where it is no archive of images
 */
export async function readerFor(members: Members, options: ShapeOptions, isZarf = false): Promise<Shaped> {
  const { manifestFormat: format = 'oci', layerCompression: compression = 'gzip' } = options;
  const warn = (text: string): void => options.warn?.(`${members.file}: ${text}`);
  const manifest = await readManifestJson(members);
  const entries = await readLayoutIndex(members);
  const fromSaved = (images: readonly SavedImage[]): DockerArchive => {
    const { tmpDir, layerMemory: memory, signal } = options;
    const layers = new LayerStore({ compression, format, tmpDir, memory, signal });
    return new DockerArchive(members, images, layers, { format, warn });
  };
  const saved = manifest?.by === 'docker' ? manifest.images : undefined;
  if (
    saved !== undefined &&
    (entries === undefined || entries.length === 0 || (await isClassicStore(members, entries)))
  )
    return { shape: 'docker-archive', reader: fromSaved(saved) };
  if (entries === undefined) {
    const view =
      manifest?.by === 'skopeo'
        ? await skopeoTree(members, [''], warn, options.signal)
        : manifest?.by === 'imgpkg'
          ? await imgpkgArchive(members, manifest.list)
          : undefined;
    if (view === undefined) return nestedReader(members, manifest, options, warn);
    return { shape: 'oci-layout', reader: new OciLayout(view.members, view.entries, warn) };
  }
  const layout = new OciLayout(members, entries, warn, isZarf);
  const reader = saved === undefined ? layout : new LayoutWithSaved(layout, saved, fromSaved);
  return { shape: 'oci-layout', reader };
}

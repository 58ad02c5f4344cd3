import { AirliftError } from '../../errors.js';
import { isObject, parseDescriptor, type Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { listLimits, parseJson } from '../../oci/json.js';
import { diffIdsOf, refuseMore } from '../../oci/manifest.js';
import {
  dockerConfig,
  dockerManifest,
  isForeignLayer,
  ociConfig,
  ociManifest,
} from '../../oci/media-types.js';
import type { FoundLayer } from '../platform/platform-finder.js';
import { MemoryRange, type ByteRange } from '../../io/byte-range.js';
import type { FoundChild, FoundImage, ReadyLayer, ShapeReader } from './archive.js';
import { namesOfRepoTags, companionOfNames } from './image-names.js';
import { isImgpkg } from './imgpkg.js';
import type { LayerStore, ManifestFormat } from './layer-store.js';
import { findMember, readMember, readWhole, type Members } from './members.js';

/** The most bytes of `manifest.json` and `index.json`: a list of 100,000 images is smaller. */
export const maxListSize = listLimits.bytes;
/** The most images of such a list. */
export const maxListed = 200_000;
/** The most bytes of a config. */
export const maxConfigSize = 8 * 1024 * 1024;

/** An image in `manifest.json`. */
export interface SavedImage {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
  /** Foreign layers by diff_id, whose content may be missing from the archive. */
  readonly sources: ReadonlyMap<string, Descriptor>;
}

function strings(value: unknown, what: string): string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new AirliftError('input', `parse ${what}: not a list of strings`);
}

function savedImage(item: unknown, what: string): SavedImage {
  if (!isObject(item) || typeof item['Config'] !== 'string')
    throw new AirliftError('input', `parse ${what}: no Config field`);
  const sources = new Map<string, Descriptor>();
  if (isObject(item['LayerSources'])) {
    for (const [diffId, source] of Object.entries(item['LayerSources']))
      sources.set(diffId, parseDescriptor(source, `${what} LayerSources`));
  }
  return {
    config: item['Config'],
    tags: strings(item['RepoTags'], `${what} RepoTags`),
    layers: strings(item['Layers'], `${what} Layers`),
    sources,
  };
}

/** A `manifest.json`, by the program that wrote it. */
export type ManifestJson =
  | { readonly by: 'docker'; readonly images: readonly SavedImage[] }
  | { readonly by: 'imgpkg'; readonly list: readonly unknown[] }
  | { readonly by: 'skopeo' }
  /** The file does not describe images. */
  | { readonly by: 'others'; readonly what: string };

/**
 * Reads `manifest.json`; undefined where the archive has none.
 * @throws AirliftError `input` where it is malformed or too large
 */
export async function readManifestJson(members: Members): Promise<ManifestJson | undefined> {
  const bytes = await readMember(members, 'manifest.json', maxListSize);
  if (bytes === undefined) return undefined;
  const what = `manifest.json in ${members.file}`;
  const list = parseJson(bytes, what, listLimits);
  // In a folder of skopeo's dir: transport, the file is the image's manifest.
  if (isObject(list) && 'schemaVersion' in list) return { by: 'skopeo' };
  if (!Array.isArray(list)) return { by: 'others', what };
  refuseMore(list, what, maxListed);
  if (isImgpkg(list)) return { by: 'imgpkg', list };
  return { by: 'docker', images: list.map((item, at) => savedImage(item, `${what} item ${at}`)) };
}

export interface DockerArchiveOptions {
  readonly format: ManifestFormat;
  readonly warn: (text: string) => void;
  /** Called with each layer of each image as soon as its digest is known. */
  readonly onLayer?: ((layer: ReadyLayer) => void) | undefined;
}

/**
 * Reads archives of `docker save`, `podman save`, skopeo's docker-archive: and `crane pull` (docker image spec v1.2, "Combined Image JSON +
 * Filesystem Changeset Format"): `manifest.json` lists configs and layers. The archives have no manifests, so these are created: the same
 * config and layers always give the same manifest.
 */
export class DockerArchive implements ShapeReader {
  /** Created manifests, and configs, by digest. */
  readonly #documents = new Map<Digest, Buffer>();

  constructor(
    private readonly members: Members,
    private readonly saved: readonly SavedImage[],
    private readonly layers: LayerStore,
    private readonly options: DockerArchiveOptions,
  ) {}

  async *images(): AsyncGenerator<FoundImage> {
    for (const saved of this.saved) {
      const { names, tag } = namesOfRepoTags(saved.tags, this.options.warn);
      if (companionOfNames({ names, tag }) !== undefined) {
        // A created manifest would lack the annotations that hold the signature.
        this.options.warn(
          `skipped ${names.join(', ')}: a docker-archive does not keep the manifests of signatures; carry them with cosign save or skopeo copy to oci:`,
        );
        continue;
      }
      const child = await this.#child(saved, names);
      yield { names, tag, root: child.descriptor, children: [child], missing: [], isNested: false };
    }
  }

  holds({ digest }: Descriptor): Promise<boolean> {
    return Promise.resolve(this.#documents.has(digest) || this.layers.holds(digest));
  }

  async find({ digest }: Descriptor): Promise<ByteRange | undefined> {
    const document = this.#documents.get(digest);
    return document === undefined ? this.layers.find(digest) : new MemoryRange(document);
  }

  async *referrers(): AsyncGenerator<Descriptor> {
    // These archives have no manifests with a subject.
  }

  close(): Promise<void> {
    return this.layers.close();
  }

  async #child(saved: SavedImage, names: readonly string[]): Promise<FoundChild> {
    const name = names[0] ?? saved.config;
    const what = `config of ${name} in ${this.members.file}`;
    const content = await findMember(this.members, saved.config, 'manifest.json');
    const configBytes = await readWhole(content, maxConfigSize, what);
    const config = this.#keep(this.options.format === 'oci' ? ociConfig : dockerConfig, configBytes);
    const stated = /(?:^|[/:])([0-9a-f]{64})(?:\.json)?$/.exec(saved.config)?.[1];
    if (stated !== undefined && config.digest !== `sha256:${stated}`) {
      throw new AirliftError(
        'digest-mismatch',
        `read ${what}: digest mismatch; got ${config.digest}, want sha256:${stated}`,
      );
    }
    const diffIds = diffIdsOf(configBytes, what);
    if (diffIds.length !== saved.layers.length) {
      throw new AirliftError(
        'damaged',
        `read ${name} in ${this.members.file}: the layers do not match the config; got ${saved.layers.length}, want ${diffIds.length}`,
      );
    }
    const adding = saved.layers.map((path, at) => this.#layer(saved, path, diffIds[at] as Digest, names));
    const added = await Promise.allSettled(adding);
    const layers: Descriptor[] = [];
    for (const result of added) {
      if (result.status === 'rejected') throw result.reason;
      layers.push(result.value);
    }
    const absent = layers.map(({ digest }) => digest).filter((digest) => !this.layers.holds(digest));
    const found = saved.layers.map((path, at): FoundLayer => {
      const digest = diffIds[at] as Digest;
      return {
        digest,
        open: () => this.members.find(path),
        knownFiles: () => this.layers.filesOf(digest),
        scan: () => this.layers.scan(digest),
      };
    });
    const mediaType = this.options.format === 'oci' ? ociManifest : dockerManifest;
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
    const descriptor = this.#keep(mediaType, manifest);
    const named = { descriptor, entry: undefined, config: config.digest, isMade: true };
    return { ...named, absent, configBytes, layers: found };
  }

  async #layer(
    saved: SavedImage,
    path: string,
    diffId: Digest,
    names: readonly string[],
  ): Promise<Descriptor> {
    const source = saved.sources.get(diffId);
    const isForeign = source !== undefined && isForeignLayer(source.mediaType) && source.urls !== undefined;
    const content = await this.members.find(path);
    if (content === undefined && isForeign) return source;
    const held = content ?? (await findMember(this.members, path, 'manifest.json'));
    const what = `${path} of ${names[0] ?? saved.config} in ${this.members.file}`;
    const descriptor = await this.layers.add(diffId, held, what);
    this.options.onLayer?.({ names, descriptor, open: () => this.layers.find(descriptor.digest) });
    return descriptor;
  }

  #keep(mediaType: string, bytes: Buffer): Descriptor {
    const digest = digestOf(bytes);
    this.#documents.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  }
}

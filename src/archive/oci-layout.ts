import type { Readable } from 'node:stream';
import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { listLimits } from '../oci/json.js';
import { algorithmOf, digestOf, hexOf, type Digest } from '../oci/digest.js';
import { childrenOf, type Json } from '../oci/index-child.js';
import {
  maxManifestSize,
  parseDescriptors,
  parseJsonObject,
  parseManifest,
  type Manifest,
} from '../oci/manifest.js';
import { isForeignLayer, isImageConfig, isManifest } from '../oci/media-types.js';
import { readableOf } from '../oci/readable.js';
import type { FoundChild, FoundImage, ShapeReader } from './archive.js';
import type { ByteRange } from './byte-range.js';
import { maxConfigSize, maxListed, maxListSize } from './docker-archive.js';
import { nameOfAnnotations } from './image-names.js';
import { readMember, readWhole, type Members } from './members.js';

/** How deep indexes may be nested. */
const maxDepth = 8;

/** Where a layout keeps a blob (image-spec, image-layout.md, "Blobs"). */
export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/**
 * The entries of `index.json`; undefined where the archive has none.
 * @throws AirliftError `input` where it is malformed or too large, `unsupported` where the layout is of another version
 */
export async function readLayoutIndex(members: Members): Promise<Descriptor[] | undefined> {
  const bytes = await readMember(members, 'index.json', maxListSize);
  if (bytes === undefined) return undefined;
  const layout = await readMember(members, 'oci-layout', maxManifestSize);
  if (layout !== undefined) {
    const version = parseJsonObject(layout, `oci-layout in ${members.file}`)['imageLayoutVersion'];
    if (typeof version !== 'string' || !version.startsWith('1.')) {
      throw new AirliftError(
        'unsupported',
        `read ${members.file}: OCI layout of another version; got ${JSON.stringify(version)}, want "1.0.0"`,
      );
    }
  }
  const what = `index.json in ${members.file}`;
  const { manifests } = parseJsonObject(bytes, what, listLimits);
  // docker 25.0 writes null where images were named by digest.
  if (manifests === undefined || manifests === null) return [];
  if (!Array.isArray(manifests)) throw new AirliftError('input', `parse ${what}: manifests is not a list`);
  return parseDescriptors(manifests, `${what} manifests`, maxListed);
}

/** What is found below a root. */
interface Tree {
  readonly children: FoundChild[];
  readonly missing: Descriptor[];
  /** Digests of everything below the root. */
  readonly below: Set<Digest>;
  isNested: boolean;
  hasSubject: boolean;
}

/**
 * OCI image layouts (image-spec, image-layout.md), as `ctr images export`, docker ≥ 25 with containerd's store, buildx, skopeo,
 * podman and airlift write them. Manifests are carried as they are; of an index, only some children may be there.
 */
export class OciLayout implements ShapeReader {
  /** What refers to a digest, among the entries of `index.json`. */
  #referrers: Map<Digest, Descriptor[]> | undefined;

  constructor(
    private readonly members: Members,
    private readonly entries: readonly Descriptor[],
    private readonly warn: (text: string) => void,
  ) {}

  async *images(): AsyncGenerator<FoundImage> {
    const found: { entry: Descriptor; tree: Tree; names: ReturnType<typeof nameOfAnnotations> }[] = [];
    const below = new Set<Digest>();
    for (const entry of this.entries) {
      const names = nameOfAnnotations(entry.annotations, this.warn);
      const tree = await this.#survey(entry);
      for (const digest of tree.below) below.add(digest);
      found.push({ entry, tree, names });
    }
    for (const { entry, tree, names } of found) {
      const isNamed = names.names.length > 0 || names.tag !== undefined;
      // What has no name of its own is part of another image, or says something about one.
      if (!isNamed && (below.has(entry.digest) || tree.hasSubject)) continue;
      const { mediaType, digest, size, platform } = entry;
      const { children, missing, isNested } = tree;
      yield { ...names, root: { mediaType, digest, size, platform }, children, missing, isNested };
    }
  }

  async holds(descriptor: Descriptor): Promise<boolean> {
    return descriptor.data !== undefined || (await this.#find(descriptor)) !== undefined;
  }

  async open(descriptor: Descriptor, offset: number): Promise<Readable | undefined> {
    const content = await this.#find(descriptor);
    if (content !== undefined) return content.stream(offset);
    if (descriptor.data === undefined) return undefined;
    return readableOf(Buffer.from(descriptor.data, 'base64'), offset);
  }

  async *referrers(digest: Digest): AsyncGenerator<Descriptor> {
    this.#referrers ??= await this.#findReferrers();
    yield* this.#referrers.get(digest) ?? [];
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #find({ digest }: Descriptor): Promise<ByteRange | undefined> {
    return this.members.find(blobPath(digest));
  }

  /** A small document whole, verified; undefined where it is not there. */
  async #read(descriptor: Descriptor, limit: number): Promise<Buffer | undefined> {
    const content = await this.#find(descriptor);
    const what = `${blobPath(descriptor.digest)} in ${this.members.file}`;
    if (content === undefined) {
      if (descriptor.data === undefined) return undefined;
    } else if (content.size !== descriptor.size) {
      throw new AirliftError(
        'size-mismatch',
        `read ${what}: size mismatch; got ${content.size} bytes, want ${descriptor.size}`,
      );
    }
    const bytes =
      content === undefined
        ? Buffer.from(descriptor.data ?? '', 'base64')
        : await readWhole(content, limit, what);
    const got = digestOf(bytes, algorithmOf(descriptor.digest));
    if (got === descriptor.digest) return bytes;
    throw new AirliftError(
      'digest-mismatch',
      `read ${what}: digest mismatch; got ${got}, want ${descriptor.digest}`,
    );
  }

  async #survey(root: Descriptor): Promise<Tree> {
    const tree: Tree = { children: [], missing: [], below: new Set(), isNested: false, hasSubject: false };
    await this.#add(root, undefined, 0, tree);
    if (tree.children.length > 0) return tree;
    const what = `${this.members.file}: ${root.digest}`;
    const absent = tree.missing.map(({ digest }) => digest).join(', ');
    throw new AirliftError(
      'damaged',
      `read ${what}: ${absent === '' ? 'an index without children' : `nothing of it is there in full; missing ${absent}`}`,
      { hint: this.members.missingHint },
    );
  }

  async #add(descriptor: Descriptor, entry: Json | undefined, depth: number, tree: Tree): Promise<void> {
    if (depth > maxDepth) {
      throw new AirliftError(
        'input',
        `read ${this.members.file}: ${descriptor.digest}: indexes nested more than ${maxDepth} deep`,
      );
    }
    if (depth > 0) tree.below.add(descriptor.digest);
    const bytes = await this.#read(descriptor, maxManifestSize);
    if (bytes === undefined) {
      tree.missing.push(descriptor);
      return;
    }
    const what = `${blobPath(descriptor.digest)} in ${this.members.file}`;
    const mediaType = isManifest(descriptor.mediaType) ? descriptor.mediaType : undefined;
    const manifest = parseManifest(bytes, mediaType, what);
    if (depth === 0) tree.hasSubject = manifest.subject !== undefined;
    if (manifest.kind === 'manifest') {
      const child = await this.#child(descriptor, entry, manifest);
      if (child === undefined) tree.missing.push(descriptor);
      else tree.children.push(child);
      return;
    }
    if (depth > 0) tree.isNested = true;
    for (const child of childrenOf({ descriptor, bytes, from: this.members.file }))
      await this.#add(child.descriptor, child.entry, depth + 1, tree);
  }

  /** A manifest with its config and layers; undefined where one of these is not there. */
  async #child(
    descriptor: Descriptor,
    entry: Json | undefined,
    manifest: Manifest,
  ): Promise<FoundChild | undefined> {
    const absent: Digest[] = [];
    for (const layer of manifest.layers) {
      if (await this.holds(layer)) continue;
      const isElsewhere = isForeignLayer(layer.mediaType) && layer.urls !== undefined;
      if (!isElsewhere) return undefined;
      absent.push(layer.digest);
    }
    const { config } = manifest;
    if (config !== undefined && !(await this.holds(config))) return undefined;
    const isImage = config !== undefined && isImageConfig(config.mediaType);
    return {
      descriptor,
      entry,
      config: config?.digest,
      isMade: false,
      absent,
      configBytes: isImage ? await this.#read(config, maxConfigSize) : undefined,
      layers: manifest.layers.map((layer) => ({ digest: layer.digest, open: () => this.#find(layer) })),
    };
  }

  async #findReferrers(): Promise<Map<Digest, Descriptor[]>> {
    const found = new Map<Digest, Descriptor[]>();
    for (const entry of this.entries) {
      const bytes = await this.#read(entry, maxManifestSize);
      if (bytes === undefined) continue;
      const manifest = parseManifest(
        bytes,
        isManifest(entry.mediaType) ? entry.mediaType : undefined,
        entry.digest,
      );
      if (manifest.subject === undefined) continue;
      const known = found.get(manifest.subject.digest) ?? [];
      const { mediaType, digest, size } = entry;
      known.push({
        mediaType,
        digest,
        size,
        artifactType: manifest.artifactType,
        annotations: manifest.annotations,
      });
      found.set(manifest.subject.digest, known);
    }
    return found;
  }
}

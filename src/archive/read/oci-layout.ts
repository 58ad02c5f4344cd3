import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { listLimits } from '../../oci/json.js';
import { algorithmOf, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { blobPath } from '../../oci/image-layout.js';
import { childrenOf, type Json } from '../../oci/index-child.js';
import {
  maxManifestSize,
  parseDescriptors,
  parseJsonObject,
  parseManifest,
  type Manifest,
} from '../../oci/manifest.js';
import { isForeignLayer, isManifest, livesUnderManifests } from '../../oci/media-types.js';
import { describesImage, mayRun } from '../../oci/runnable.js';
import type { FoundChild, FoundImage, ShapeReader } from './archive.js';
import { MemoryRange, type ByteRange } from '../../io/byte-range.js';
import { maxConfigSize, maxListed, maxListSize } from './docker-archive.js';
import {
  nameOfAnnotations,
  companionNames,
  companionOfNames,
  maxPayloadSize,
  roleOf,
  subjectsOfPayload,
  withoutPins,
  type LayoutEntry,
} from './image-names.js';
import { readMember, readWhole, type Members } from './members.js';

/** The most levels of nested indexes. */
const maxDepth = 8;
/** The most layers of a signature that are read to find its subject: each layer is a signature of the same image. */
const maxPayloads = 16;

/**
 * Reads the entries of `index.json`; undefined where the archive has none.
 * @throws AirliftError `input` where it is malformed or too large, `unsupported` where the layout has another version
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
        `read ${members.file}: unsupported OCI layout version; got ${JSON.stringify(version)}, want "1.0.0"`,
      );
    }
  }
  const what = `index.json in ${members.file}`;
  const { manifests } = parseJsonObject(bytes, what, listLimits);
  // docker 25.0 writes null for images that were saved by digest.
  if (manifests === undefined || manifests === null) return [];
  if (!Array.isArray(manifests)) throw new AirliftError('input', `parse ${what}: manifests is not a list`);
  return parseDescriptors(manifests, `${what} manifests`, maxListed);
}

/** The content below a root. */
interface Tree {
  readonly children: FoundChild[];
  readonly missing: Descriptor[];
  /** Whether an index lists blobs, as build caches list their layers, and the layout holds them. */
  hasBlobs: boolean;
  /** Digests of all content below the root. */
  readonly below: Set<Digest>;
  isNested: boolean;
  hasSubject: boolean;
}

/**
 * Reads OCI image layouts (image-spec, image-layout.md), as written by `ctr images export`, docker ≥ 25 with containerd's store, buildx,
 * skopeo, podman and airlift. Manifests are kept unchanged; an index may lack some of its children.
 */
export class OciLayout implements ShapeReader {
  /** The referrers of each digest. */
  #referrers: Map<Digest, Descriptor[]> | undefined;
  #known: readonly Descriptor[] | undefined;

  constructor(
    private readonly members: Members,
    private readonly entries: readonly Descriptor[],
    private readonly warn: (text: string) => void,
    private readonly isZarf = false,
  ) {}

  async *images(): AsyncGenerator<FoundImage> {
    const found: (LayoutEntry & { readonly tree: Tree })[] = [];
    const below = new Set<Digest>();
    for (const entry of await this.#manifests()) {
      const names = nameOfAnnotations(entry.annotations, this.warn, this.isZarf);
      const tree = await this.#survey(entry);
      const role = roleOf(entry);
      for (const digest of tree.below) below.add(digest);
      const isCompanion = role === 'sig' || role === 'att' || role === 'sbom';
      const about = isCompanion ? await this.#subjects(tree) : [];
      found.push({ entry, tree, names, role, about, below: tree.below });
    }
    const stated = new Map<Digest, string[]>();
    for (const { entry, names } of found)
      stated.set(entry.digest, [...(stated.get(entry.digest) ?? []), ...names.names]);
    for (const [at, each] of found.entries()) {
      const { digest } = each.entry;
      found[at] = { ...each, names: withoutPins(digest, each.names, stated.get(digest) ?? []) };
    }
    for (const each of found) {
      const named = this.#namesOf(each, found, below);
      if (named === undefined) continue;
      const { mediaType, digest, size, platform } = each.entry;
      const { children, missing, isNested } = each.tree;
      const isCompanion = named.companionOf !== undefined;
      // Content under a tag of cosign is never a runnable image, even if it looks like one.
      const asFound = isCompanion
        ? children.map((child) => ({ ...child, configBytes: undefined }))
        : children;
      yield {
        ...named,
        root: { mediaType, digest, size, platform: isCompanion ? undefined : platform },
        children: asFound,
        missing,
        isNested,
      };
    }
  }

  /**
   * Returns the entries that are manifests or indexes: some tools also list the layers of a build cache.
   * @throws AirliftError `unsupported` where all are blobs, which a registry does not keep without a manifest
   */
  async #manifests(): Promise<readonly Descriptor[]> {
    if (this.#known !== undefined) return this.#known;
    const known: Descriptor[] = [];
    const blobs: Descriptor[] = [];
    for (const entry of this.entries) ((await this.#isBlob(entry)) ? blobs : known).push(entry);
    const [first] = blobs;
    if (first !== undefined && known.length === 0) {
      throw new AirliftError(
        'unsupported',
        `read ${this.members.file}: index.json lists only blobs; got ${first.mediaType} ${first.digest}, want a manifest or an index`,
        {
          hint: 'for an image: docker buildx build --output type=oci,dest=image.tar; for a build cache: --cache-to type=registry',
        },
      );
    }
    for (const { mediaType, digest } of blobs)
      this.warn(`skipped ${digest}: index.json lists it, but it is not a manifest (${mediaType})`);
    this.#known = known;
    return known;
  }

  /** Returns the names an entry is published under; undefined where it is not an image of its own. */
  #namesOf(
    each: LayoutEntry & { readonly tree: Tree },
    found: readonly LayoutEntry[],
    below: ReadonlySet<Digest>,
  ): Pick<FoundImage, 'names' | 'tag' | 'companionOf'> | undefined {
    const { entry, names, role, tree } = each;
    const companionOf = companionOfNames(names);
    if (companionOf !== undefined) return { ...names, companionOf };
    if (role === 'referrer') {
      // Referrers have no name; they are found by their subject.
      if (!tree.hasSubject)
        this.warn(`skipped ${entry.digest}: it is marked as a referrer but has no subject`);
      return undefined;
    }
    if (role === 'sig' || role === 'att' || role === 'sbom') {
      const beside = companionNames(each, found);
      if (beside === undefined && !tree.hasSubject)
        this.warn(`skipped ${entry.digest} (${role}): the archive does not name the image it belongs to`);
      return beside;
    }
    // An entry without a name may be part of another image, a referrer, or containerd's record of an image id.
    const hasName = (other: LayoutEntry): boolean =>
      other.names.names.length > 0 || other.names.tag !== undefined;
    const isPart =
      below.has(entry.digest) ||
      tree.hasSubject ||
      found.some((other) => other.entry.digest === entry.digest && hasName(other));
    return hasName(each) || !isPart ? names : undefined;
  }

  /** Returns the subjects that the layers of a signature or attestation name. */
  async #subjects({ children }: Tree): Promise<Digest[]> {
    const subjects: Digest[] = [];
    for (const layer of children.flatMap((child) => child.layers).slice(0, maxPayloads)) {
      const content = await layer.open();
      if (content === undefined || content.size > maxPayloadSize) continue;
      subjects.push(...subjectsOfPayload(await content.read(0, content.size)));
    }
    return subjects;
  }

  async holds(descriptor: Descriptor): Promise<boolean> {
    return descriptor.data !== undefined || (await this.#find(descriptor)) !== undefined;
  }

  async find(descriptor: Descriptor): Promise<ByteRange | undefined> {
    const content = await this.#find(descriptor);
    if (content !== undefined || descriptor.data === undefined) return content;
    return new MemoryRange(Buffer.from(descriptor.data, 'base64'));
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

  /** Reads and verifies a small document; undefined where it is missing. */
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
    const tree: Tree = {
      children: [],
      missing: [],
      below: new Set<Digest>(),
      hasBlobs: false,
      isNested: false,
      hasSubject: false,
    };
    await this.#add(root, undefined, 0, tree);
    // A filtered index does not keep blobs, so an index with blobs must be complete.
    if (tree.hasBlobs ? tree.missing.length === 0 : tree.children.length > 0) return tree;
    const what = `${this.members.file}: ${root.digest}`;
    const absent = tree.missing.map(({ digest }) => digest).join(', ');
    throw new AirliftError(
      'damaged',
      `read ${what}: ${absent === '' ? 'an index without children' : `no manifest below it is complete; missing ${absent}`}`,
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
    if (depth > 0 && (await this.#isBlob(descriptor))) {
      tree.hasBlobs = true;
      return;
    }
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

  /** Reports whether the layout holds the content and it is a blob, by media type and by content. */
  async #isBlob(descriptor: Descriptor): Promise<boolean> {
    if (livesUnderManifests(descriptor)) return false;
    const content = await this.#find(descriptor);
    if (content === undefined || content.size !== descriptor.size) return false;
    if (content.size > maxManifestSize) return true;
    const bytes = await content.read(0, content.size);
    return !isManifestContent(bytes);
  }

  /** Returns a manifest with its config and layers; undefined where one of these is missing. */
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
    const configBytes =
      config !== undefined && mayRun(manifest) ? await this.#read(config, maxConfigSize) : undefined;
    const what = `config of ${descriptor.digest} in ${this.members.file}`;
    const isImage = configBytes !== undefined && describesImage(configBytes, manifest.layers.length, what);
    return {
      descriptor,
      entry,
      config: config?.digest,
      isMade: false,
      absent,
      configBytes: isImage ? configBytes : undefined,
      layers: manifest.layers.map((layer) => ({ digest: layer.digest, open: () => this.#find(layer) })),
    };
  }

  async #findReferrers(): Promise<Map<Digest, Descriptor[]>> {
    const found = new Map<Digest, Descriptor[]>();
    const add = (descriptor: Descriptor, bytes: Buffer): void => {
      const stated = isManifest(descriptor.mediaType) ? descriptor.mediaType : undefined;
      const { mediaType, subject, artifactType, annotations } = parseManifest(
        bytes,
        stated,
        descriptor.digest,
      );
      if (subject === undefined) return;
      const { digest, size } = descriptor;
      const known = found.get(subject.digest) ?? [];
      known.push({ mediaType, digest, size, artifactType, annotations });
      found.set(subject.digest, known);
    };
    const listed = new Set<string>();
    for (const entry of await this.#manifests()) {
      const bytes = await this.#read(entry, maxManifestSize);
      listed.add(entry.digest);
      if (bytes !== undefined) add(entry, bytes);
    }
    // cosign 3 saves referrers as blobs without listing them in index.json.
    if (!this.entries.some((entry) => roleOf(entry) === 'image')) return found;
    for await (const path of this.members.below('blobs/sha256/')) {
      const digest = `sha256:${path.slice('blobs/sha256/'.length)}`;
      if (!isDigest(digest) || listed.has(digest)) continue;
      const content = await this.members.find(path);
      if (content === undefined || content.size > maxManifestSize) continue;
      const start = await content.read(0, 1);
      const bytes = start.toString('latin1') === '{' ? await content.read(0, content.size) : start;
      if (isReferrer(bytes) && digestOf(bytes) === digest)
        add({ mediaType: '', digest, size: content.size }, bytes);
    }
    return found;
  }
}

/** Reports whether content is a manifest or an index, whatever its media type. */
function isManifestContent(bytes: Buffer): boolean {
  if (!bytes.includes('"schemaVersion"')) return false;
  try {
    parseManifest(bytes, undefined, 'a blob');
    return true;
  } catch {
    return false;
  }
}

/** Reports whether a blob is a manifest with a subject. */
function isReferrer(bytes: Buffer): boolean {
  if (!bytes.includes('"subject"') || !bytes.includes('"schemaVersion"')) return false;
  try {
    return parseManifest(bytes, undefined, 'a blob').subject !== undefined;
  } catch {
    return false;
  }
}

import {
  choosePlatforms,
  loadManifest,
  maxDepth,
  refuseDepth,
  sparseError,
  type Loaded,
} from './choose-platforms.js';
import { isAirliftError } from '../errors.js';
import { InFlight } from './in-flight.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { inlineContent } from '../oci/inline.js';
import { platformOfConfig, type Index, type Manifest } from '../oci/manifest.js';
import { isForeignLayer, isIndex, isManifest } from '../oci/media-types.js';
import { formatPlatform, isUnknown, type Platform } from '../oci/platform.js';
import { readManifest } from '../oci/read.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import {
  findCompanions,
  includeOptional,
  includeReferrers,
  type Leniency,
  type ReferrersWalk,
} from './referrers.js';
import { allLinked } from '../concurrency.js';

export type BlobRole = 'config' | 'layer';
export type EdgeRole = 'manifest' | BlobRole | 'subject';

/** An edge of the graph to `child`, the `position`th child with this role. */
export interface Edge {
  readonly child: Digest;
  readonly role: EdgeRole;
  readonly position: number;
}

/** A manifest or index of the plan, with its original bytes. */
export interface ManifestNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
  readonly edges: readonly Edge[];
  /** The platform of an image: from its index entry, else from its config. */
  readonly platform: Platform | undefined;
  /** Set for a publisher's index that is planned with its filtered copy: some of its children are not planned. */
  readonly isOriginal?: boolean | undefined;
}

/** A config or layer of the plan, with its bytes if planning read them. */
export interface BlobNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly role: BlobRole;
  readonly bytes: Buffer | undefined;
}

/** Receives the plan: every digest once, children before parents. */
export interface PlanSink {
  /** Reports whether the blob was added. */
  has(digest: Digest): boolean;
  addBlob(node: BlobNode): void;
  /** Records a blob that a manifest lists and the plan leaves out: a foreign layer of which only the descriptor is kept. */
  leaveOut?(node: BlobNode): void;
  /**
   * Adds a manifest or index. A publisher's index may be added twice: with its filtered copy, when its edges lead to children that
   * are not planned, and again when another image includes all of it.
   */
  addManifest(node: ManifestNode): void;
}

/** Returns the edges from a manifest or index to its children and its subject. */
export function edgesOf(manifest: Manifest | Index): Edge[] {
  const edges: Edge[] = [];
  const add = (role: EdgeRole, children: readonly Descriptor[]): void => {
    for (const [position, { digest }] of children.entries()) edges.push({ child: digest, role, position });
  };
  if (manifest.kind === 'index') {
    add('manifest', manifest.manifests);
  } else {
    if (manifest.config !== undefined) add('config', [manifest.config]);
    add('layer', manifest.layers);
  }
  if (manifest.subject !== undefined) add('subject', [manifest.subject]);
  return edges;
}

export interface PlanOptions extends Leniency {
  /** Platforms to keep; default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Warn about a platform that an image lacks, instead of failing. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Follow signatures and other referrers. */
  readonly referrers?: boolean | undefined;
  /** Plan the content of foreign layers (`include`, the default) or only their descriptors (`keep`). */
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  /** Leave configs unread; manifests that no index lists then have no platform. */
  readonly skipConfigs?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An image of a list, with the options that the list sets for it. */
export interface PlanRequest {
  readonly reference: Reference;
  /** Platforms of this image; default: those of all images. */
  readonly platforms?: readonly Platform[] | undefined;
  /** The digest to use, even if the tag points elsewhere now. */
  readonly pinned?: Digest | undefined;
  /** The only referrers to include. Tags of signatures are ignored then. Default: all referrers. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** A planned image, with the options that give the same plan again. */
export interface PlannedImage extends Image {
  /** Undefined if all platforms are included. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Undefined if referrers were not requested. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** The place of a manifest in its image. */
interface Position {
  readonly depth: number;
  /** The index that lists it. */
  readonly parent?: Descriptor | undefined;
  /** The publisher's index of a filtered image: errors name it because users know it. */
  readonly publishers?: Descriptor | undefined;
  /** Aborted when a sibling fails. */
  readonly signal?: AbortSignal | undefined;
}

const none: readonly Digest[] = [];

/** Referrers and signatures of an image. */
interface Attached {
  readonly referrers: ReadonlySet<Digest>;
  readonly companions: readonly Image[];
}

/** The chosen part of an image. */
type Chosen = Pick<PlannedImage, 'root' | 'original' | 'platforms'>;

/**
 * Walks the graph below references and passes each digest to the sink once, children before parents. Several images may be
 * planned concurrently; content that they share is fetched once.
 */
export class Planner {
  /** Manifests that were read and that the sink does not have yet. */
  readonly #loaded = new Map<Digest, Loaded>();
  readonly #loading = new InFlight<Loaded>();
  /**
   * Manifests that the sink has, with the children of indexes. The sink's own `has` is no substitute: a digest may be known as a
   * layer and still be a manifest to walk.
   */
  readonly #added = new Map<Digest, readonly Digest[]>();
  /** The media types of these manifests, by their content. */
  readonly #types = new Map<Digest, string>();
  /** Publishers' indexes whose bytes the sink has in addition to their filtered copies. */
  readonly #originals = new Set<Digest>();
  readonly #adding = new InFlight<void>();
  readonly #chosen = new Map<string, Chosen>();
  readonly #choosing = new InFlight<Chosen>();
  readonly #attached = new Map<string, Promise<Attached>>();

  constructor(
    private readonly source: Source,
    private readonly sink: PlanSink,
    private readonly options: PlanOptions = {},
  ) {}

  /**
   * Resolves a reference, chooses its platforms and plans them.
   * @returns the image, followed by the images under cosign's tags for it
   * @throws AirliftError `platform-missing` that names the available platforms; what the source throws
   */
  async plan(request: PlanRequest): Promise<PlannedImage[]> {
    const { reference, pinned } = request;
    const platforms = request.platforms ?? this.options.platforms;
    const named = pinned === undefined ? reference : { ...reference, digest: pinned };
    const resolved = await this.#resolve(named);
    // One registry may lack children of an index that another registry has.
    const place = this.options.skipMissingPlatforms === true ? formatRepository(reference) : '';
    const key = [resolved.digest, resolved.mediaType, place, ...(platforms ?? []).map(formatPlatform)].join(
      ' ',
    );
    let choice = this.#chosen.get(key);
    if (choice === undefined) {
      choice = await this.#choosing.share(key, reference, () => this.#choose(reference, resolved, platforms));
      this.#chosen.set(key, choice);
    }
    const image = { reference, ...choice };
    if (this.options.referrers !== true) {
      await this.#addImage(image);
      return [image];
    }
    const { referrers, companions } = await this.#addWithAttached(image, request.referrers);
    return [{ ...image, referrers: [...referrers].sort() }, ...companions];
  }

  /** Resolves a reference and takes the media type from the content: the registry's label may be wrong. */
  async #resolve(reference: Reference): Promise<Descriptor> {
    const { signal } = this.options;
    const descriptor = await this.source.resolve(reference, { signal });
    const mediaType =
      this.#types.get(descriptor.digest) ?? (await this.#load(reference, descriptor)).descriptor.mediaType;
    return { ...descriptor, mediaType };
  }

  /**
   * Plans a whole image, without choosing platforms.
   * @param wanted the only referrers to include; default: all
   * @returns the digests of its manifests, which signatures may name
   */
  async planImage(image: Image, wanted?: readonly Digest[]): Promise<Set<Digest>> {
    const subjects = await this.#addImage(image);
    if (this.options.referrers !== true) return subjects;
    if (wanted !== undefined) await this.#addWanted(image.reference, subjects, new Set(wanted));
    else await includeReferrers(this.#walkOf(image.reference), subjects);
    return subjects;
  }

  async #addImage(image: Image): Promise<Set<Digest>> {
    await this.#add(image.reference, image.root, { depth: 0, publishers: image.original });
    const subjects = new Set<Digest>([image.root.digest]);
    // The loop also visits digests that are added to the set meanwhile.
    for (const digest of subjects) for (const child of this.#added.get(digest) ?? none) subjects.add(child);
    if (image.original !== undefined) {
      subjects.add(image.original.digest);
      await this.#addOriginal(image.reference, image.original);
    }
    return subjects;
  }

  #walkOf(repository: Repository, wanted?: ReadonlySet<Digest>): ReferrersWalk {
    const { source } = this;
    const { signal, warn, lenient } = this.options;
    const add = (referrer: Descriptor): Promise<void> => this.#add(repository, referrer);
    return { source, repository, signal, wanted, add, warn, lenient };
  }

  /** Plans an image and its referrers; several tags of one image in one repository share one search. */
  async #addWithAttached(image: Image, wanted: readonly Digest[] | undefined): Promise<Attached> {
    if (wanted !== undefined)
      return this.#addWanted(image.reference, await this.#addImage(image), new Set(wanted));
    const key = `${formatRepository(image.reference)}@${image.root.digest}`;
    const known = this.#attached.get(key);
    if (known !== undefined) {
      await this.#addImage(image);
      return known;
    }
    const attached = this.#addWithFound(image);
    this.#attached.set(key, attached);
    attached.catch(() => this.#attached.delete(key));
    return attached;
  }

  /**
   * Plans an image, and searches for its referrers as soon as their subjects are known: usually the index lists all of them. Referrers
   * are planned after the image, and warnings about them are only given if the image can be planned.
   */
  async #addWithFound(image: Image): Promise<Attached> {
    const repository = image.reference;
    const subjects = this.#subjectsOf(image);
    const adding = this.#addImage(image);
    const warnings: string[] = [];
    const warn = (text: string): void => void warnings.push(text);
    const first = await this.#search(repository, subjects, { adding, warn });
    const rest = new Set([...(await adding)].filter((digest) => !subjects.has(digest)));
    const found = [first];
    if (rest.size > 0) found.push(await this.#search(repository, rest, { adding, warn }));
    const companions: Image[] = [];
    for (const { reference, root } of found.flatMap((each) => each.companions)) {
      const add = (): Promise<void> => this.#add(reference, root);
      if (await includeOptional(formatReference(reference), { ...this.options, warn }, add))
        companions.push({
          reference,
          root: { ...root, mediaType: this.#types.get(root.digest) ?? root.mediaType },
        });
    }
    for (const text of warnings) this.options.warn?.(text);
    return { referrers: new Set(found.flatMap(({ referrers }) => [...referrers])), companions };
  }

  /** Returns the digests of an image's manifests, as far as they are known before all of them are read. */
  #subjectsOf({ root, original }: Image): Set<Digest> {
    const subjects = new Set([root.digest]);
    const loaded = this.#loaded.get(root.digest)?.manifest;
    const children =
      loaded?.kind === 'index' ? loaded.manifests.map(({ digest }) => digest) : this.#added.get(root.digest);
    for (const digest of children ?? none) subjects.add(digest);
    if (original !== undefined) subjects.add(original.digest);
    return subjects;
  }

  /**
   * Searches for referrers and signatures, and plans the referrers.
   * @param adding the planning of their image; if it fails, the search ends
   * @returns the referrers, and the signatures, which are not planned yet
   * @throws what `adding` throws
   */
  async #search(
    repository: Repository,
    subjects: ReadonlySet<Digest>,
    { adding, warn }: { readonly adding: Promise<unknown>; readonly warn: (text: string) => void },
  ): Promise<Attached> {
    let referrers: ReadonlySet<Digest> = new Set();
    let companions: readonly Image[] = [];
    const add = async (referrer: Descriptor): Promise<void> => {
      await adding;
      await this.#add(repository, referrer);
    };
    const parts = [
      () => adding,
      // One search after the other: a registry that fails the first one is not asked again and again in the second.
      async (signal: AbortSignal) => {
        referrers = await includeReferrers({ ...this.#walkOf(repository), add, warn, signal }, subjects);
        companions = await findCompanions(this.source, repository, subjects, { signal, warn });
      },
    ];
    await allLinked(parts, this.options.signal, (part, signal) => part(signal));
    return { referrers, companions };
  }

  async #addWanted(
    repository: Repository,
    subjects: ReadonlySet<Digest>,
    wanted: ReadonlySet<Digest>,
  ): Promise<Attached> {
    const { signal } = this.options;
    const listed = await includeReferrers(this.#walkOf(repository, wanted), subjects);
    for (const digest of wanted) {
      if (listed.has(digest)) continue;
      const reference = { registry: repository.registry, repository: repository.repository, digest };
      await this.#add(repository, await this.source.resolve(reference, { signal }));
    }
    return { referrers: wanted, companions: [] };
  }

  /**
   * Plans the bytes of a publisher's index and of the indexes nested in it. Children that were filtered out are not planned. A
   * nested index that the registry lacks is left out: choosing platforms did not need it either.
   */
  async #addOriginal(repository: Repository, descriptor: Descriptor, depth = 0): Promise<void> {
    if (depth > maxDepth) refuseDepth(descriptor);
    if (this.#added.has(descriptor.digest) || this.#originals.has(descriptor.digest)) return;
    const loaded = await this.#load(repository, descriptor).catch((error: unknown) => {
      if (depth === 0 || !isAirliftError(error, 'not-found')) throw error;
    });
    if (loaded === undefined || this.#originals.has(descriptor.digest)) return;
    const { bytes, manifest } = loaded;
    const below =
      manifest.kind === 'index' ? manifest.manifests.filter(({ mediaType }) => isIndex(mediaType)) : [];
    for (const child of below) await this.#addOriginal(repository, child, depth + 1);
    // Not recorded as added: another image may include the whole index, and then its children must be walked.
    this.#originals.add(descriptor.digest);
    this.sink.addManifest({
      repository,
      descriptor: loaded.descriptor,
      bytes,
      manifest,
      edges: edgesOf(manifest),
      platform: undefined,
      isOriginal: true,
    });
    this.#loaded.delete(descriptor.digest);
  }

  async #choose(
    reference: Reference,
    resolved: Descriptor,
    platforms: readonly Platform[] | undefined,
  ): Promise<Chosen> {
    const load = (descriptor: Descriptor): Promise<Loaded> => this.#load(reference, descriptor);
    const { root, original, filtered, chosen } = await choosePlatforms(load, reference, resolved, {
      ...this.options,
      platforms,
      has: (digest) => this.#added.has(digest),
    });
    for (const loaded of filtered) this.#loaded.set(loaded.descriptor.digest, loaded);
    return { root, original, platforms: chosen };
  }

  async #load(repository: Repository, descriptor: Descriptor, signal = this.options.signal): Promise<Loaded> {
    const { digest } = descriptor;
    const known = this.#loaded.get(digest);
    if (known !== undefined) return known;
    return this.#loading.share(digest, repository, async () => {
      const loaded = await this.#read(repository, descriptor, signal);
      // Meanwhile the sink may have got the manifest from another registry.
      if (!this.#added.has(digest)) this.#loaded.set(digest, loaded);
      return loaded;
    });
  }

  async #read(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Loaded> {
    if (this.options.skipConfigs !== true) return loadManifest(this.source, repository, descriptor, signal);
    return { ...(await readManifest(this.source, repository, descriptor, { signal })), config: undefined };
  }

  /** Plans a manifest and everything below it, once. */
  async #add(repository: Repository, descriptor: Descriptor, at: Position = { depth: 0 }): Promise<void> {
    if (at.depth > maxDepth) refuseDepth(descriptor);
    if (this.#added.has(descriptor.digest)) return;
    await this.#adding.share(descriptor.digest, repository, () => this.#addOnce(repository, descriptor, at));
  }

  /** Plans a child of an index: a manifest, or a blob, as the layers in BuildKit's cache indexes are. */
  async #addChild(repository: Repository, child: Descriptor, at: Position): Promise<void> {
    if (isManifest(child.mediaType)) await this.#add(repository, child, at);
    else this.#addBlob(repository, child, 'layer', undefined);
  }

  async #addOnce(repository: Repository, descriptor: Descriptor, at: Position): Promise<void> {
    const loaded = await this.#load(repository, descriptor, at.signal).catch((error: unknown) => {
      throw at.parent === undefined ? error : sparseError(error, at.parent, descriptor);
    });
    const { bytes, manifest, config } = loaded;
    if (manifest.kind === 'index') {
      const { depth, publishers } = at;
      const below = { depth: depth + 1, parent: publishers ?? descriptor, publishers };
      await allLinked(manifest.manifests, at.signal ?? this.options.signal, (child, signal) =>
        this.#addChild(repository, child, { ...below, signal }),
      );
      // Meanwhile another registry provided the same index.
      if (this.#added.has(descriptor.digest)) return;
    } else {
      if (this.#added.has(descriptor.digest)) return;
      if (manifest.config !== undefined) this.#addBlob(repository, manifest.config, 'config', config);
      for (const layer of manifest.layers) this.#addBlob(repository, layer, 'layer', undefined);
    }
    const listed = at.parent === undefined ? undefined : descriptor.platform;
    const own =
      listed ??
      (config === undefined ? undefined : platformOfConfig(config, `config of ${descriptor.digest}`));
    this.sink.addManifest({
      repository,
      descriptor: loaded.descriptor,
      bytes,
      manifest,
      edges: edgesOf(manifest),
      // Attestations are marked unknown/unknown, which is not a platform.
      platform: own === undefined || isUnknown(own) ? undefined : own,
    });
    this.#types.set(descriptor.digest, manifest.mediaType);
    this.#added.set(
      descriptor.digest,
      manifest.kind === 'index' ? manifest.manifests.map((child) => child.digest) : none,
    );
    this.#loaded.delete(descriptor.digest);
  }

  #addBlob(repository: Repository, descriptor: Descriptor, role: BlobRole, bytes: Buffer | undefined): void {
    const node = { repository, descriptor, role, bytes: bytes ?? inlineContent(descriptor) };
    if (this.options.foreignLayers === 'keep' && isForeignLayer(descriptor.mediaType))
      this.sink.leaveOut?.(node);
    else if (!this.sink.has(descriptor.digest)) this.sink.addBlob(node);
  }
}

import {
  choosePlatforms,
  loadManifest,
  maxDepth,
  refuseDepth,
  sparseError,
  type Choice,
  type Loaded,
} from './choose-platforms.js';
import { isAirliftError } from '../errors.js';
import { edgesOf, type BlobRole, type PlanSink } from './graph.js';
import { InFlight } from './in-flight.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { inlineContent } from '../oci/inline.js';
import { platformOfConfig } from '../oci/manifest.js';
import { isForeignLayer, isIndex, isManifest } from '../oci/media-types.js';
import { formatPlatform, isUnknown, type Platform } from '../oci/platform.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import {
  findCompanions,
  takeOptional,
  takeReferrers,
  type Leniency,
  type ReferrersWalk,
} from './referrers.js';
import { allLinked } from '../concurrency.js';

export interface PlanOptions extends Leniency {
  /** Platforms to keep; undefined keeps all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** A platform that an image lacks is a warning, not an error. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Follow signatures and other referrers. */
  readonly referrers?: boolean | undefined;
  /** `keep` plans only the descriptors of foreign layers, `include` their content too. */
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a list says of one image beside its name. */
export interface PlanRequest {
  readonly reference: Reference;
  /** Platforms of this image, instead of those of all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** What to take under the name, whatever it points at now. */
  readonly pinned?: Digest | undefined;
  /** What refers to it and is to be taken, whatever else there is now: signatures under tags are not looked for then. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** An image that was planned, with what it takes to plan the same again. */
export interface PlannedImage extends Image {
  /** Undefined where all platforms are taken. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Undefined where none were asked for. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** Where in its image a manifest stands. */
interface Position {
  readonly depth: number;
  /** The index that names it. */
  readonly parent?: Descriptor | undefined;
  /** The publisher's index, where what is planned was filtered out of it: the one that people know. */
  readonly publishers?: Descriptor | undefined;
  /** Links what is read beside it. */
  readonly signal?: AbortSignal | undefined;
}

const none: readonly Digest[] = [];

/** What belongs to an image without being part of it. */
interface Attached {
  readonly referrers: ReadonlySet<Digest>;
  readonly companions: readonly Image[];
}

/** What was chosen of an image. */
type Chosen = Pick<PlannedImage, 'root' | 'original' | 'platforms'>;

/**
 * Walks the graph below references and gives each digest once, children before parents. Several images may be planned at
 * the same time: what they share is fetched once.
 */
export class Planner {
  /** Manifests that were read, until the sink has them. */
  readonly #loaded = new Map<Digest, Loaded>();
  readonly #loading = new InFlight<Loaded>();
  /**
   * Manifests that the sink has, with the children of indexes: a digest may be known as somebody's layer and still be a
   * manifest to walk.
   */
  readonly #added = new Map<Digest, readonly Digest[]>();
  /** The media types of these manifests, by their content. */
  readonly #types = new Map<Digest, string>();
  /** Publishers' indexes whose bytes the sink has, beside the filtered ones made of them. */
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
   * Resolves a reference, chooses its platforms and plans what is left.
   * @returns the image, and after it the images behind cosign's tags for it
   * @throws AirliftError `platform-missing` naming what there is; what the source throws
   */
  async plan(request: PlanRequest): Promise<PlannedImage[]> {
    const { reference, pinned } = request;
    const platforms = request.platforms ?? this.options.platforms;
    const named = pinned === undefined ? reference : { ...reference, digest: pinned };
    const resolved = await this.#resolve(named);
    // One registry may lack what another has of the same index.
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
    const subjects = await this.#addImage(image);
    if (this.options.referrers !== true) return [image];
    const { referrers, companions } = await this.#addAttached(image, subjects, request.referrers);
    return [{ ...image, referrers: [...referrers].sort() }, ...companions];
  }

  /** What a reference points at, with the media type that it has by its content: registries may label it otherwise. */
  async #resolve(reference: Reference): Promise<Descriptor> {
    const { signal } = this.options;
    const descriptor = await this.source.resolve(reference, { signal });
    const mediaType =
      this.#types.get(descriptor.digest) ?? (await this.#load(reference, descriptor)).descriptor.mediaType;
    return { ...descriptor, mediaType };
  }

  /**
   * Plans an image as it is, without choosing platforms.
   * @param wanted the referrers to take, whatever others there are
   * @returns the digests of its manifests, which signatures may name
   */
  async planImage(image: Image, wanted?: readonly Digest[]): Promise<Set<Digest>> {
    const subjects = await this.#addImage(image);
    if (this.options.referrers !== true) return subjects;
    if (wanted !== undefined) await this.#addWanted(image.reference, subjects, new Set(wanted));
    else await takeReferrers(this.#walkOf(image.reference), subjects);
    return subjects;
  }

  async #addImage(image: Image): Promise<Set<Digest>> {
    await this.#add(image.reference, image.root, { depth: 0, publishers: image.original });
    const subjects = new Set<Digest>([image.root.digest]);
    // A set grows while it is walked.
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

  /** Plans what belongs to an image; for several tags of one image in one repository it is looked for once. */
  #addAttached(
    image: Image,
    subjects: ReadonlySet<Digest>,
    wanted: readonly Digest[] | undefined,
  ): Promise<Attached> {
    if (wanted !== undefined) return this.#addWanted(image.reference, subjects, new Set(wanted));
    const key = `${formatRepository(image.reference)}@${image.root.digest}`;
    let attached = this.#attached.get(key);
    if (attached === undefined) {
      attached = this.#addFound(image.reference, subjects);
      this.#attached.set(key, attached);
      attached.catch(() => this.#attached.delete(key));
    }
    return attached;
  }

  async #addFound(repository: Repository, subjects: ReadonlySet<Digest>): Promise<Attached> {
    const { signal } = this.options;
    const referrers = await takeReferrers(this.#walkOf(repository), subjects);
    const { warn } = this.options;
    const companions: Image[] = [];
    for (const companion of await findCompanions(this.source, repository, subjects, { signal, warn })) {
      const { reference, root } = companion;
      if (await takeOptional(formatReference(reference), this.options, () => this.#add(reference, root)))
        companions.push(companion);
    }
    const typed = companions.map(({ reference, root }) => ({
      reference,
      root: { ...root, mediaType: this.#types.get(root.digest) ?? root.mediaType },
    }));
    return { referrers, companions: typed };
  }

  async #addWanted(
    repository: Repository,
    subjects: ReadonlySet<Digest>,
    wanted: ReadonlySet<Digest>,
  ): Promise<Attached> {
    const { signal } = this.options;
    const listed = await takeReferrers(this.#walkOf(repository, wanted), subjects);
    for (const digest of wanted) {
      if (listed.has(digest)) continue;
      const reference = { registry: repository.registry, repository: repository.repository, digest };
      await this.#add(repository, await this.source.resolve(reference, { signal }));
    }
    return { referrers: wanted, companions: [] };
  }

  /**
   * Plans the bytes of a publisher's index and of the indexes below it: what was filtered out of them is not part of the plan. A
   * nested one that is nowhere could not be followed before either.
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
    // Not noted as added: another image may take all of it, and its children then have to be walked.
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
    if (platforms === undefined && this.options.skipMissingPlatforms !== true) return { root: resolved };
    const load = (descriptor: Descriptor): Promise<Loaded> => this.#load(reference, descriptor);
    const choice: Choice = await choosePlatforms(load, reference, resolved, {
      ...this.options,
      platforms,
      has: (digest) => this.#added.has(digest),
    });
    const { root, filtered, taken } = choice;
    for (const loaded of filtered) this.#loaded.set(loaded.descriptor.digest, loaded);
    const original = root.digest === resolved.digest ? undefined : resolved;
    return { root, original, platforms: taken };
  }

  async #load(repository: Repository, descriptor: Descriptor, signal = this.options.signal): Promise<Loaded> {
    const { digest } = descriptor;
    const known = this.#loaded.get(digest);
    if (known !== undefined) return known;
    return this.#loading.share(digest, repository, async () => {
      const loaded = await loadManifest(this.source, repository, descriptor, signal);
      // Another registry may have been quicker, and the sink may have it since.
      if (!this.#added.has(digest)) this.#loaded.set(digest, loaded);
      return loaded;
    });
  }

  /** Plans a manifest and all below it, once. */
  async #add(repository: Repository, descriptor: Descriptor, at: Position = { depth: 0 }): Promise<void> {
    if (at.depth > maxDepth) refuseDepth(descriptor);
    if (this.#added.has(descriptor.digest)) return;
    await this.#adding.share(descriptor.digest, repository, () => this.#addOnce(repository, descriptor, at));
  }

  /** Plans what an index names: manifests, and blobs, as build caches keep their layers. */
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
      // Another registry gave the same index meanwhile.
      if (this.#added.has(descriptor.digest)) return;
    } else {
      if (this.#added.has(descriptor.digest)) return;
      if (manifest.config !== undefined) this.#addBlob(repository, manifest.config, 'config', config);
      for (const layer of manifest.layers) this.#addBlob(repository, layer, 'layer', undefined);
    }
    const told = at.parent === undefined ? undefined : descriptor.platform;
    const own =
      told ?? (config === undefined ? undefined : platformOfConfig(config, `config of ${descriptor.digest}`));
    this.sink.addManifest({
      repository,
      descriptor: loaded.descriptor,
      bytes,
      manifest,
      edges: edgesOf(manifest),
      // Attestations are marked unknown/unknown; that is no platform.
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

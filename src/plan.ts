import { choosePlatforms, maxDepth, refuseDepth, type Loaded } from './choose.js';
import { isAirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import { hexOf, algorithmOf, type Digest } from './oci/digest.js';
import { maxManifestSize, platformOfConfig, type Index, type Manifest } from './oci/manifest.js';
import { isForeignLayer, isImageConfig } from './oci/media-types.js';
import { formatPlatform, isUnknown, type Platform } from './oci/platform.js';
import { readContent, readManifest } from './oci/read.js';
import type { Reference, Repository } from './oci/reference.js';
import type { Image, Source } from './oci/source.js';

export type BlobRole = 'config' | 'layer';
export type EdgeRole = 'manifest' | BlobRole | 'subject';

/** One line of the graph: `parent` names `child`, as its `position`th of that role. */
export interface Edge {
  readonly child: Digest;
  readonly role: EdgeRole;
  readonly position: number;
}

/** A manifest or index of the plan, with its bytes as they came. */
export interface ManifestNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
  readonly edges: readonly Edge[];
  /** Of an image: what its index entry says, else its config. */
  readonly platform: Platform | undefined;
}

/** A config or layer of the plan, with its bytes where planning had to read them. */
export interface BlobNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly role: BlobRole;
  readonly bytes: Buffer | undefined;
}

/** Takes the plan: every digest once, children before parents. */
export interface PlanSink {
  /** Whether it has this blob. */
  has(digest: Digest): boolean;
  blob(node: BlobNode): void;
  /** A blob that a manifest names and that is not carried: a foreign layer that was chosen to be kept as it is. */
  leftOut?(node: BlobNode): void;
  /** A publisher's index may come twice: beside its filtered copy, where its edges lead to what is not carried, and whole. */
  manifest(node: ManifestNode): void;
}

export interface PlanOptions {
  /** Platforms to keep; undefined keeps all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** A platform that an image lacks is a warning, not an error. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Follow signatures and other referrers. */
  readonly referrers?: boolean | undefined;
  /** `keep` plans only the descriptors of foreign layers, `include` their content too. */
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  readonly warn?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a list says of one image beside its name. */
export interface PlanRequest {
  readonly reference: Reference;
  /** Platforms of this image, instead of those of all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** What to take under the name, whatever it points at now. */
  readonly pinned?: Digest | undefined;
}

/**
 * Walks the graph below references and gives each digest once, children before parents. Several images may be planned at
 * the same time: what they share is fetched once.
 */
export class Planner {
  readonly #loading = new Map<Digest, Promise<Loaded>>();
  /** Manifests that the sink has: a digest may be known as somebody's layer and still be a manifest to walk. */
  readonly #added = new Set<Digest>();
  /** Publishers' indexes whose bytes the sink has, beside the filtered ones made of them. */
  readonly #originals = new Set<Digest>();
  readonly #adding = new Map<Digest, Promise<void>>();
  readonly #chosen = new Map<string, Promise<Pick<Image, 'root' | 'original'>>>();

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
  async plan(request: PlanRequest): Promise<Image[]> {
    const { reference, pinned } = request;
    const platforms = request.platforms ?? this.options.platforms;
    const named = pinned === undefined ? reference : { ...reference, digest: pinned };
    const resolved = await this.source.resolve(named, { signal: this.options.signal });
    const key = [resolved.digest, resolved.mediaType, ...(platforms ?? []).map(formatPlatform)].join(' ');
    let choice = this.#chosen.get(key);
    if (choice === undefined) {
      choice = this.#choose(reference, resolved, platforms);
      this.#chosen.set(key, choice);
      choice.catch(() => this.#chosen.delete(key));
    }
    const image: Image = { reference, ...(await choice) };
    const subjects = await this.planImage(image);
    return [image, ...(this.options.referrers === true ? await this.#cosignImages(reference, subjects) : [])];
  }

  /**
   * Plans an image as it is, without choosing platforms.
   * @returns the digests of its manifests, which signatures may name
   */
  async planImage(image: Image): Promise<Set<Digest>> {
    const subjects = new Set<Digest>();
    await this.#add(image.reference, image.root, 0, undefined, subjects);
    if (image.original !== undefined) {
      subjects.add(image.original.digest);
      await this.#addOriginal(image.reference, image.original);
    }
    if (this.options.referrers === true) {
      for (const subject of subjects) await this.#addReferrers(image.reference, subject, 0);
    }
    return subjects;
  }

  /** Plans the bytes of a publisher's index alone: what was filtered out of it is not part of the plan. */
  async #addOriginal(repository: Repository, descriptor: Descriptor): Promise<void> {
    if (this.#added.has(descriptor.digest) || this.#originals.has(descriptor.digest)) return;
    const { bytes, manifest } = await this.#load(repository, descriptor);
    // Not noted as added: another image may take all of it, and its children then have to be walked.
    this.#originals.add(descriptor.digest);
    this.sink.manifest({
      repository,
      descriptor,
      bytes,
      manifest,
      edges: edgesOf(manifest),
      platform: undefined,
    });
    this.#loading.delete(descriptor.digest);
  }

  async #choose(
    reference: Reference,
    resolved: Descriptor,
    platforms: readonly Platform[] | undefined,
  ): Promise<Pick<Image, 'root' | 'original'>> {
    if (platforms === undefined) return { root: resolved };
    const load = (descriptor: Descriptor): Promise<Loaded> => this.#load(reference, descriptor);
    const { root, filtered } = await choosePlatforms(load, reference, resolved, {
      ...this.options,
      platforms,
    });
    for (const loaded of filtered) this.#loading.set(loaded.descriptor.digest, Promise.resolve(loaded));
    return root.digest === resolved.digest ? { root } : { root, original: resolved };
  }

  #load(repository: Repository, descriptor: Descriptor): Promise<Loaded> {
    let loading = this.#loading.get(descriptor.digest);
    if (loading === undefined) {
      loading = this.#read(repository, descriptor);
      this.#loading.set(descriptor.digest, loading);
      // A failure is for those who wait now; who asks later asks the source again.
      loading.catch(() => this.#loading.delete(descriptor.digest));
    }
    return loading;
  }

  async #read(repository: Repository, descriptor: Descriptor): Promise<Loaded> {
    const { signal } = this.options;
    const loaded = await readManifest(this.source, repository, descriptor, { signal });
    const config = loaded.manifest.kind === 'manifest' ? loaded.manifest.config : undefined;
    const isSmall = config !== undefined && isImageConfig(config.mediaType) && config.size <= maxManifestSize;
    return {
      ...loaded,
      config: isSmall ? await readContent(this.source, repository, config, { signal }) : undefined,
    };
  }

  #emit(node: ManifestNode): void {
    this.sink.manifest(node);
    this.#added.add(node.descriptor.digest);
    this.#loading.delete(node.descriptor.digest);
  }

  /** Plans a manifest and all below it, once, and notes the manifests met in `subjects`. */
  async #add(
    repository: Repository,
    descriptor: Descriptor,
    depth: number,
    platform: Platform | undefined,
    subjects: Set<Digest>,
  ): Promise<void> {
    if (depth > maxDepth) refuseDepth(descriptor);
    subjects.add(descriptor.digest);
    if (this.#added.has(descriptor.digest)) return;
    let adding = this.#adding.get(descriptor.digest);
    if (adding === undefined) {
      adding = this.#addOnce(repository, descriptor, depth, platform, subjects).finally(() =>
        this.#adding.delete(descriptor.digest),
      );
      this.#adding.set(descriptor.digest, adding);
    }
    await adding;
  }

  async #addOnce(
    repository: Repository,
    descriptor: Descriptor,
    depth: number,
    platform: Platform | undefined,
    subjects: Set<Digest>,
  ): Promise<void> {
    const { bytes, manifest, config } = await this.#load(repository, descriptor);
    if (manifest.kind === 'index') {
      await Promise.all(
        manifest.manifests.map((child) => this.#add(repository, child, depth + 1, child.platform, subjects)),
      );
    } else {
      if (manifest.config !== undefined) this.#addBlob(repository, manifest.config, 'config', config);
      for (const layer of manifest.layers) this.#addBlob(repository, layer, 'layer', undefined);
    }
    const own =
      platform ??
      (config === undefined ? undefined : platformOfConfig(config, `config of ${descriptor.digest}`));
    this.#emit({
      repository,
      descriptor,
      bytes,
      manifest,
      edges: edgesOf(manifest),
      // Attestations are marked unknown/unknown; that is no platform.
      platform: own === undefined || isUnknown(own) ? undefined : own,
    });
  }

  #addBlob(repository: Repository, descriptor: Descriptor, role: BlobRole, bytes: Buffer | undefined): void {
    const node = { repository, descriptor, role, bytes };
    if (this.options.foreignLayers === 'keep' && isForeignLayer(descriptor.mediaType))
      this.sink.leftOut?.(node);
    else if (!this.sink.has(descriptor.digest)) this.sink.blob(node);
  }

  async #addReferrers(repository: Repository, subject: Digest, depth: number): Promise<void> {
    if (depth > maxDepth) return;
    for await (const referrer of this.source.referrers(repository, subject, {
      signal: this.options.signal,
    })) {
      const known = this.#added.has(referrer.digest);
      await this.#add(repository, referrer, 0, undefined, new Set());
      if (!known) await this.#addReferrers(repository, referrer.digest, depth + 1);
    }
  }

  /** What cosign attached by tag: `sha256-<hex>.sig`, `.att` and `.sbom` beside the image (cosign's SIGNATURE_SPEC). */
  async #cosignImages(repository: Repository, subjects: Iterable<Digest>): Promise<Image[]> {
    const images: Image[] = [];
    for (const subject of subjects) {
      for (const suffix of ['sig', 'att', 'sbom']) {
        const tag = `${algorithmOf(subject)}-${hexOf(subject)}.${suffix}`;
        const reference = { registry: repository.registry, repository: repository.repository, tag };
        try {
          const root = await this.source.resolve(reference, { signal: this.options.signal });
          await this.#add(reference, root, 0, undefined, new Set());
          images.push({ reference, root });
        } catch (error) {
          if (!isAirliftError(error, 'not-found')) throw error;
        }
      }
    }
    return images;
  }
}

/** The edges from a manifest or index to what it names. */
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

import { choosePlatforms, loadManifest } from './plan/choose-platforms.js';
import { AirliftError } from './errors.js';
import { ManifestCache } from './plan/manifest-cache.js';
import type { Descriptor } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import type { Platform } from './oci/platform.js';
import type { LoadedManifest } from './oci/read.js';
import { verdictOf } from './oci/guess.js';
import { formatReference, formatRepository, type Reference, type Repository } from './oci/reference.js';
import type { Image } from './oci/source.js';
import { type BlobNode, type PlanRequest, Planner } from './plan/planner.js';
import { taggedOf } from './publish/publisher.js';
import {
  PublishingRun,
  type PublishedName,
  type PublishingOptions,
  type PublishingSummary,
  type PublishName,
} from './publish/publishing-run.js';
import { findCompanions, includeOptional } from './plan/referrers.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { mapNames, siteReference, type SiteName } from './site/names.js';
import { forEachOf } from './concurrency.js';
import { resumingSource } from './transfer/resuming-source.js';

/** Images resolved at a time. */
const lookups = 8;

export interface CopyOptions extends PublishingOptions {
  readonly images: readonly PlanRequest[];
  /** Platforms to copy; default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Copy signatures and other referrers; default: true. */
  readonly referrers?: boolean | undefined;
  /** Copy foreign layers (default) or keep only their descriptors. */
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  /** How to reach the source registries. */
  readonly registry?: RegistryOptions | undefined;
  /** How to reach the destination; default: `registry`. */
  readonly destination?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Push only indexes and their tags; the destination must hold their children. */
  readonly indexOnly?: boolean | undefined;
  /** Called with the names of all images at the destination before anything is pushed. */
  readonly onNames?: ((names: readonly SiteName[]) => Promise<void>) | undefined;
}

/** A name at the destination: of an image, or of a signature that was copied with it. */
export type CopiedImage = PublishedName;

export interface CopySummary extends Omit<PublishingSummary, 'published'> {
  readonly copied: readonly CopiedImage[];
}

/** An image that was resolved. Its filtered indexes are made again when it is published. */
interface Chosen {
  readonly request: PlanRequest;
  readonly resolved: Descriptor;
  readonly image: Image;
}

/** The repositories of the source that have a blob, by its digest. */
type RepositoriesOfBlobs = ReadonlyMap<Digest, ReadonlyMap<string, Repository>>;

/** One run of `copy`. */
class Copying {
  readonly #source: Registry;
  readonly #site: Registry;
  readonly #cache: ManifestCache;
  readonly #run: PublishingRun;
  /** The digest of each tag that images and signatures get: two sources may hold different signatures for one image. */
  readonly #tags = new Map<string, Digest>();

  #repositories: Promise<RepositoriesOfBlobs> | undefined;

  constructor(private readonly options: CopyOptions) {
    this.#run = new PublishingRun('copy', options);
    const { registry, destination, hooks } = options;
    this.#source = new Registry(registry, hooks);
    // One client for both ends shares what it learns about a host.
    this.#site = destination === undefined ? this.#source : new Registry(destination, hooks);
    this.#cache = new ManifestCache(resumingSource(this.#source, registry?.retries ?? 5, options.signal));
  }

  /** Resolves all images and names them before anything is pushed. */
  async choose(): Promise<{ chosen: Chosen[]; names: SiteName[] }> {
    const { images, onEvent } = this.options;
    const found: (Chosen | undefined)[] = [];
    let position = 0;
    await forEachOf(images.entries(), lookups, async ([at, request]) => {
      const image = formatReference(request.reference);
      await this.#run.attempt(image, async () => {
        found[at] = await this.#resolve(request);
        onEvent?.({ event: 'resolved', image, position: ++position, images: images.length });
      });
    });
    const chosen = found.filter((one) => one !== undefined);
    if (this.#run.isOver || (images.length > 0 && chosen.length === 0))
      throw this.#run.failure(images.length);
    const names = mapNames(
      this.options.to,
      chosen.map(({ image }) => ({
        source: image.reference,
        digest: taggedOf(image, this.options.originalIndex).digest,
        original: image.original?.digest,
      })),
    );
    // A signature must not take the tag of an image.
    for (const { site, digest } of names)
      this.#tags.set(formatReference({ ...site, digest: undefined }), digest);
    return { chosen, names };
  }

  async #resolve(request: PlanRequest): Promise<Chosen> {
    const { reference, pinned } = request;
    const named = pinned === undefined ? reference : { ...reference, digest: pinned };
    const resolved = await this.#cache.resolve(named, { signal: this.options.signal });
    const { image } = await this.#filter(request, resolved);
    return { request, resolved, image };
  }

  /** Applies the chosen platforms; the result is the same each time. */
  async #filter(
    request: PlanRequest,
    resolved: Descriptor,
    warn?: (message: string) => void,
  ): Promise<{ image: Image; filtered: readonly LoadedManifest[] }> {
    const { skipMissingPlatforms, signal } = this.options;
    const { reference } = request;
    const platforms = request.platforms ?? this.options.platforms;
    const { root, original, filtered } = await choosePlatforms(
      (descriptor) => loadManifest(this.#cache, reference, descriptor, signal),
      reference,
      resolved,
      { platforms, skipMissingPlatforms, warn },
    );
    return { image: { reference, root, original }, filtered };
  }

  /** Publishes all images that were chosen. */
  async publish(chosen: readonly Chosen[]): Promise<CopySummary> {
    const { foreignLayers, indexOnly, referrers = true } = this.options;
    const publisher = this.#run.publisher(this.#cache, this.#site, {
      hasForeign: () => foreignLayers !== 'keep',
      otherRepositories: async (digest) => (await this.#findBlobs(chosen)).get(digest)?.values() ?? [],
      referrers,
      indexOnly,
      lenient: true,
    });
    const { published: copied, ...summary } = await this.#run.publish(publisher, {
      images: chosen,
      count: chosen.length,
      referenceOf: ({ request }) => request.reference,
      publish: (one, publishName) => this.#publishImage(one, publishName),
    });
    return { ...summary, copied };
  }

  /** Finds the source repositories of all blobs, once: only a blob that its own repository lost needs it. */
  #findBlobs(chosen: readonly Chosen[]): Promise<RepositoriesOfBlobs> {
    return (this.#repositories ??= this.#planBlobs(chosen));
  }

  async #planBlobs(chosen: readonly Chosen[]): Promise<RepositoriesOfBlobs> {
    const { signal } = this.options;
    const repositories = new Map<Digest, Map<string, Repository>>();
    await forEachOf(chosen, lookups, async ({ request, resolved }) => {
      const { registry, repository } = request.reference;
      const name = formatRepository(request.reference);
      const addBlob = ({ descriptor: { digest } }: BlobNode): void => {
        const known = repositories.get(digest) ?? new Map<string, Repository>();
        repositories.set(digest, known.set(name, { registry, repository }));
      };
      try {
        const { image, filtered } = await this.#filter(request, resolved);
        const release = this.#cache.hold(filtered);
        // One planner for each image: a planner walks a manifest once, whichever repositories have it.
        const sink = { has: () => false, addBlob, addManifest: () => undefined };
        await new Planner(this.#cache, sink, { signal }).planImage(image).finally(release);
      } catch (error) {
        // The image itself reports this failure when it is published.
        if (verdictOf(error) === 'fatal') throw error;
      }
    });
    return repositories;
  }

  async #publishImage({ request, resolved }: Chosen, publishName: PublishName): Promise<void> {
    const { to, originalIndex, indexOnly, referrers, onEvent, signal } = this.options;
    const warn = (message: string): void => onEvent?.({ event: 'warning', message });
    const { image, filtered } = await this.#filter(request, resolved, warn);
    const name = siteReference(to, {
      source: image.reference,
      digest: taggedOf(image, originalIndex).digest,
    });
    const release = this.#cache.hold(filtered);
    try {
      const manifests = await publishName({ image, name, referrers: request.referrers });
      // A list that pins referrers names signatures under tags as images.
      if (referrers === false || indexOnly === true || request.referrers !== undefined) return;
      const source = this.#cache;
      for (const companion of await findCompanions(source, image.reference, manifests, { signal, warn })) {
        const { reference, root } = companion;
        const load = async (): Promise<void> => void (await loadManifest(source, reference, root, signal));
        if (await includeOptional(formatReference(reference), { warn, lenient: true }, load))
          await this.#publishCompanion(publishName, companion, name);
      }
    } finally {
      release();
    }
  }

  /** Publishes a signature in the repository of its image, under the same tag. */
  async #publishCompanion(publishName: PublishName, companion: Image, image: Reference): Promise<void> {
    const { registry, repository } = image;
    const name = { registry, repository, tag: companion.reference.tag };
    const key = formatReference(name);
    const before = this.#tags.get(key);
    if (before === companion.root.digest) return;
    if (before !== undefined) {
      throw new AirliftError(
        'conflict',
        `copy ${formatReference(companion.reference)}: ${key} already names another manifest; got ${before}, want ${companion.root.digest}`,
        {
          hint: 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
        },
      );
    }
    this.#tags.set(key, companion.root.digest);
    await publishName({ image: companion, name });
  }

  async close(): Promise<void> {
    await this.#source.close();
    if (this.#site !== this.#source) await this.#site.close();
  }
}

/**
 * Returns the names that a copy would give to images at the destination and the digests it would tag. Resolves all images and
 * pushes nothing.
 * @throws AirliftError what resolving and naming throw
 */
export async function copyNames(options: CopyOptions): Promise<SiteName[]> {
  const copying = new Copying(options);
  try {
    return (await copying.choose()).names;
  } finally {
    await copying.close();
  }
}

/**
 * Copies images from registries to another registry without storing anything on disk. All images are resolved and named before
 * anything is pushed; content that the destination holds is skipped, or mounted from another repository; each image gets its tag
 * last. A rerun after an interruption or a failure sends only what is missing.
 * @throws AirliftError what resolving, naming and publishing throw; without `keepGoing` when any image failed
 */
export async function copyImages(options: CopyOptions): Promise<CopySummary> {
  const copying = new Copying(options);
  try {
    const { chosen, names } = await copying.choose();
    await options.onNames?.(names);
    return await copying.publish(chosen);
  } finally {
    await copying.close();
  }
}

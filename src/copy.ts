import { checkAtomic, ImagePublisher, onceWhole } from './publish/deferred-tagging.js';
import { choosePlatforms, loadManifest } from './plan/choose-platforms.js';
import { AirliftError, checkInterrupted, interruption, isAirliftError, toPlainError } from './errors.js';
import { failureOf, type FailedImage } from './failed-images.js';
import { ManifestOverlay } from './plan/manifest-cache.js';
import type { Descriptor } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import type { Platform } from './oci/platform.js';
import type { LoadedManifest } from './oci/read.js';
import { formatReference, formatRepository, type Reference } from './oci/reference.js';
import type { Image } from './oci/source.js';
import type { PlanRequest } from './plan/planner.js';
import type { OnEvent } from './progress.js';
import {
  Publisher,
  type OnExistingTag,
  type OriginalIndex,
  type Pointed,
  type PublishOutcome,
  type PublishTotals,
} from './publish/publisher.js';
import { findCompanions, takeOptional } from './plan/referrers.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { mapNames, siteReference, type Site, type SiteName } from './site/names.js';
import { forEachOf } from './concurrency.js';
import { SteadySource } from './transfer/resuming-source.js';

/** Images looked up at a time, and images published at a time; blobs on their way share a limit of their own. */
const lookups = 8;
const imageConcurrency = 4;

export interface CopyOptions {
  readonly images: readonly PlanRequest[];
  /** Where images go, and what they are called there. */
  readonly to: Site;
  /** Platforms to copy; undefined copies all. */
  readonly platforms?: readonly Platform[] | undefined;
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Copy signatures and other referrers along; unless told, they are. */
  readonly referrers?: boolean | undefined;
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  /** How registries are reached. */
  readonly registry?: RegistryOptions | undefined;
  /** How the destination is reached, where that differs. */
  readonly destination?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly onExistingTag?: OnExistingTag | undefined;
  readonly originalIndex?: OriginalIndex | undefined;
  /** Push indexes and their tags alone: what they name has to be there. */
  readonly indexOnly?: boolean | undefined;
  /** Blobs on their way at a time; 8 unless told. */
  readonly concurrency?: number | undefined;
  /** Copy what can be copied when some images fail. */
  readonly keepGoing?: boolean | undefined;
  /** Change no tag before all of all images is there. */
  readonly atomic?: boolean | undefined;
  /** Is told what images will be called, before anything is pushed. */
  readonly onNames?: ((names: readonly SiteName[]) => Promise<void>) | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface CopiedImage {
  readonly source: string;
  readonly target: string;
  readonly digest: Digest;
  readonly outcome: PublishOutcome;
}

export interface CopySummary extends Readonly<PublishTotals> {
  readonly target: string;
  readonly copied: readonly CopiedImage[];
  readonly failed: readonly FailedImage[];
  /** What the destination accepted and does not show, such as images that Harbor has yet to scan. */
  readonly unread: readonly string[];
  /** Publisher's index digests that the destination could not take: pins by these digests won't work there. */
  readonly lostPins: readonly string[];
}

/** What is to be copied of an image that was looked up. Its filtered indexes are made again when its turn comes. */
interface Chosen {
  readonly request: PlanRequest;
  readonly resolved: Descriptor;
  readonly image: Image;
}

/** One run of copying. */
class Copying {
  readonly #source: Registry;
  readonly #site: Registry;
  readonly #overlay: ManifestOverlay;
  readonly #failed: FailedImage[] = [];
  readonly #copied: CopiedImage[] = [];
  readonly #lostPins: string[] = [];
  /** What tags of images and of signatures were given, by name: two sources may hold different signatures for one image. */
  readonly #companions = new Map<string, Digest>();

  constructor(private readonly options: CopyOptions) {
    const { registry, destination, hooks } = options;
    this.#source = new Registry(registry, hooks);
    // One object for both ends shares what it learns of a host.
    this.#site = destination === undefined ? this.#source : new Registry(destination, hooks);
    this.#overlay = new ManifestOverlay(
      new SteadySource(this.#source, registry?.retries ?? 5, options.signal),
    );
  }

  /** Looks all images up and names them, before anything is pushed. */
  async choose(): Promise<{ chosen: Chosen[]; names: SiteName[] }> {
    const { images, keepGoing, onEvent } = this.options;
    const found: (Chosen | undefined)[] = [];
    let position = 0;
    await forEachOf(images.entries(), lookups, async ([at, request]) => {
      const image = formatReference(request.reference);
      await this.#attempt(image, async () => {
        found[at] = await this.#lookUp(request);
        onEvent?.({ event: 'resolved', image, position: ++position, images: images.length });
      });
    });
    const chosen = found.filter((one) => one !== undefined);
    if (this.#failed.length > 0 && (keepGoing !== true || chosen.length === 0)) throw this.#failure();
    const names = mapNames(
      this.options.to,
      chosen.map(({ image }) => ({
        source: image.reference,
        digest: this.#taggedOf(image).digest,
        original: image.original?.digest,
      })),
    );
    // A tag that an image gets is not given to the signature of another.
    for (const { site, digest } of names)
      this.#companions.set(formatReference({ ...site, digest: undefined }), digest);
    return { chosen, names };
  }

  /** Runs what concerns one image; a failure is noted. */
  async #attempt(image: string, work: () => Promise<void>): Promise<void> {
    const { signal, onEvent } = this.options;
    try {
      checkInterrupted(signal, 'copy');
      await work();
    } catch (error) {
      if (signal?.aborted === true) throw interruption('copy', signal);
      if (isAirliftError(error, 'interrupted')) throw error;
      const plain = toPlainError(error);
      this.#failed.push({ image, error: plain });
      onEvent?.({ event: 'image-failed', image, message: plain.message, hint: plain.hint });
    }
  }

  #failure(): AirliftError {
    return failureOf('copy', this.#failed, this.options.images.length, '`keepGoing` copies the others');
  }

  #taggedOf(image: Image): Descriptor {
    return (this.options.originalIndex === 'original' ? image.original : undefined) ?? image.root;
  }

  async #lookUp(request: PlanRequest): Promise<Chosen> {
    const { reference, pinned } = request;
    const named = pinned === undefined ? reference : { ...reference, digest: pinned };
    const resolved = await this.#overlay.resolve(named, { signal: this.options.signal });
    const { image } = await this.#chooseOf(request, resolved);
    return { request, resolved, image };
  }

  /** Applies platforms; the same again for the same image. */
  async #chooseOf(
    request: PlanRequest,
    resolved: Descriptor,
    warn?: (message: string) => void,
  ): Promise<{ image: Image; filtered: readonly LoadedManifest[] }> {
    const { skipMissingPlatforms, signal } = this.options;
    const { reference } = request;
    const platforms = request.platforms ?? this.options.platforms;
    if (platforms === undefined && skipMissingPlatforms !== true)
      return { image: { reference, root: resolved }, filtered: [] };
    const { root, filtered } = await choosePlatforms(
      (descriptor) => loadManifest(this.#overlay, reference, descriptor, signal),
      reference,
      resolved,
      { platforms, skipMissingPlatforms, warn },
    );
    const original = root.digest === resolved.digest ? undefined : resolved;
    return { image: { reference, root, original }, filtered };
  }

  /** Publishes all that was chosen. */
  async publish(chosen: readonly Chosen[]): Promise<CopySummary> {
    const { to, onEvent, keepGoing, signal, referrers = true } = this.options;
    const asked = new Set(chosen.map(({ image }) => formatReference(image.reference)));
    const publisher = new Publisher(this.#overlay, this.#site, {
      hasForeign: () => this.options.foreignLayers !== 'keep',
      concurrency: this.options.concurrency ?? 8,
      onExistingTag: this.options.onExistingTag ?? 'overwrite',
      originalIndex: this.options.originalIndex ?? 'auto',
      referrers,
      warn: (message) => onEvent?.({ event: 'warning', message }),
      lenient: true,
      indexOnly: this.options.indexOnly,
      onPlanned: ({ reference }, bytes) => {
        const image = formatReference(reference);
        if (asked.has(image)) onEvent?.({ event: 'image-planned', image, images: chosen.length, bytes });
      },
      onEvent,
      signal,
    });
    const publishing = new ImagePublisher(publisher, this.options);
    let position = 0;
    await forEachOf(chosen, imageConcurrency, async (one) => {
      // Without keepGoing what has begun is finished, and nothing new is begun.
      if (this.#failed.length > 0 && keepGoing !== true) return;
      const source = formatReference(one.request.reference);
      const note = ({ reference, digest, outcome, lostPin }: Pointed): void => {
        const image = formatReference(reference);
        this.#copied.push({ source, target: image, digest, outcome });
        if (lostPin !== undefined) this.#lostPins.push(`${formatRepository(reference)}@${lostPin}`);
        onEvent?.({
          ...{ event: 'image-done', image, digest, outcome },
          ...{ position: ++position, images: chosen.length },
        });
      };
      await this.#attempt(source, () =>
        onceWhole(note, (onDone) => this.#publishOne(publishing, one, onDone)),
      );
    });
    if (this.#failed.length === 0) await publishing.finish();
    publisher.tellUnread();
    if (this.#failed.length > 0 && (keepGoing !== true || this.#copied.length === 0)) throw this.#failure();
    return {
      target: to.prefix === undefined ? to.registry : `${to.registry}/${to.prefix}`,
      ...publisher.totals,
      images: this.#copied.filter(({ outcome }) => outcome !== 'skipped').length,
      copied: this.#copied,
      unread: publisher.unread,
      failed: this.#failed,
      lostPins: this.#lostPins,
    };
  }

  async #publishOne(
    publishing: ImagePublisher,
    { request, resolved }: Chosen,
    onDone: (pointed: Pointed) => void,
  ): Promise<void> {
    const { to, onEvent, indexOnly, referrers, signal } = this.options;
    const { image, filtered } = await this.#chooseOf(request, resolved, (message) =>
      onEvent?.({ event: 'warning', message }),
    );
    const name = siteReference(to, { source: image.reference, digest: this.#taggedOf(image).digest });
    const release = this.#overlay.hold(filtered);
    try {
      const manifests = await publishing.publish(image, name, onDone, request.referrers);
      // A lock names the signatures under tags by themselves.
      if (referrers === false || indexOnly === true || request.referrers !== undefined) return;
      const warn = (message: string): void => onEvent?.({ event: 'warning', message });
      const source = this.#overlay;
      for (const companion of await findCompanions(source, image.reference, manifests, { signal, warn })) {
        const { reference, root } = companion;
        const load = async (): Promise<void> => void (await loadManifest(source, reference, root, signal));
        if (await takeOptional(formatReference(reference), { warn, lenient: true }, load))
          await this.#publishCompanion(publishing, companion, name);
      }
    } finally {
      release();
    }
  }

  /** Publishes a signature under the same tag beside the image. */
  async #publishCompanion(publishing: ImagePublisher, companion: Image, beside: Reference): Promise<void> {
    const { registry, repository } = beside;
    const name = { registry, repository, tag: companion.reference.tag };
    const key = formatReference(name);
    const before = this.#companions.get(key);
    if (before === companion.root.digest) return;
    if (before !== undefined) {
      throw new AirliftError(
        'conflict',
        `copy ${formatReference(companion.reference)}: ${key} was given to another; got ${before}, want ${companion.root.digest}`,
        {
          hint: 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
        },
      );
    }
    this.#companions.set(key, companion.root.digest);
    await publishing.publish(companion, name, () => undefined);
  }

  async close(): Promise<void> {
    await this.#source.close();
    if (this.#site !== this.#source) await this.#site.close();
  }
}

/**
 * What a copy would call images at the destination, and which digest it would tag. Looks everything up and pushes nothing.
 * @throws AirliftError what looking up and naming throw
 */
export async function copyNames(options: CopyOptions): Promise<SiteName[]> {
  checkAtomic('copy', options);
  const copying = new Copying(options);
  try {
    return (await copying.choose()).names;
  } finally {
    await copying.close();
  }
}

/**
 * Copies images from registries to another one, streamed: nothing is kept on disk, what is there is skipped, and what the
 * destination has in another repository is mounted. All images are looked up and named before anything is pushed; each gets its
 * tag last. Interrupted or failed, it is run again and sends only what is missing.
 * @throws AirliftError what looking up, naming and publishing throw; without `keepGoing` where any image failed
 */
export async function copyImages(options: CopyOptions): Promise<CopySummary> {
  checkAtomic('copy', options);
  const copying = new Copying(options);
  try {
    const { chosen, names } = await copying.choose();
    await options.onNames?.(names);
    return await copying.publish(chosen);
  } finally {
    await copying.close();
  }
}

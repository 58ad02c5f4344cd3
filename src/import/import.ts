import { archImages, namesToGive } from './arch-tags.js';
import { checkAtomic, ImagePublisher, onceWhole } from '../publish/deferred-tagging.js';
import { checkInterrupted, interruption, toPlainError } from '../errors.js';
import { failureOf, type FailedImage } from '../failed-images.js';
import { openInputs, type InputOptions, type Inputs } from '../merge/open-inputs.js';
import { isCompanionTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import { formatReference, formatRepository, parseReference } from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import {
  Publisher,
  type OnExistingTag,
  type OriginalIndex,
  type Pointed,
  type PublishOutcome,
  type PublishTotals,
} from '../publish/publisher.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { mapNames, siteReference, type Site, type SiteName } from '../site/names.js';
import { forEachOf } from '../concurrency.js';

/** Images published at a time; their blobs share one limit of their own. */
const imageConcurrency = 4;

export interface ImportOptions extends InputOptions {
  /** Where images go, and what they are called there. */
  readonly to: Site;
  /** How to reach registries; default: the system's certificates, no credentials, no proxy. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly onExistingTag?: OnExistingTag | undefined;
  readonly originalIndex?: OriginalIndex | undefined;
  /** Uploads at a time; 8 unless told. */
  readonly concurrency?: number | undefined;
  /** Publish each platform's image under a tag of its own too: `1.0-arm64`. */
  readonly archTags?: boolean | undefined;
  /** Is told what images will be called, before anything is pushed. */
  readonly onNames?: ((names: readonly SiteName[]) => Promise<void>) | undefined;
  /** Publish what can be published when some images fail. */
  readonly keepGoing?: boolean | undefined;
  /** Change no tag before all of all images is there. */
  readonly atomic?: boolean | undefined;
}

export interface ImportedImage {
  readonly source: string;
  readonly target: string;
  readonly digest: Digest;
  readonly outcome: PublishOutcome;
}

export interface ImportSummary extends Readonly<PublishTotals> {
  readonly target: string;
  readonly published: readonly ImportedImage[];
  readonly failed: readonly FailedImage[];
  /** What the site accepted and does not show, such as images that Harbor has yet to scan. */
  readonly unread: readonly string[];
  /** Publisher's index digests that the site could not take: pins by these digests won't work there. */
  readonly lostPins: readonly string[];
}

/**
 * Publishes the images of a bundle, or of archives merged by the names of their images, to a registry: what is there is skipped,
 * tags come last, and each is read back. Interrupted or failed, it is run again and sends only what is missing.
 * @throws AirliftError what opening the inputs and publishing throw; without `keepGoing` at the first image that fails; `usage`
 *   where it is to be atomic and keep going
 */
export async function importImages(options: ImportOptions): Promise<ImportSummary> {
  checkAtomic('import', options);
  const inputs = await openInputs(options);
  let registry: Registry | undefined;
  try {
    registry = new Registry(options.registry, options.hooks);
    // Before anything is pushed: a name that can't be, or that two images want, is found here.
    const names = mapNames(options.to, await namesToGive(inputs, options));
    await options.onNames?.(names);
    return await new Importing(inputs, registry, options).run();
  } finally {
    await registry?.close();
    await inputs.close();
  }
}

export type SiteNamesOptions = InputOptions & Pick<ImportOptions, 'archTags' | 'originalIndex'>;

/**
 * What the images of a bundle or of archives will be called at the site.
 * @throws AirliftError as `mapNames`, and what opening the inputs throws
 */
export async function siteNames(options: SiteNamesOptions, to: Site): Promise<SiteName[]> {
  const inputs = await openInputs(options);
  try {
    return mapNames(to, await namesToGive(inputs, options));
  } finally {
    await inputs.close();
  }
}

/** One run of publishing. */
class Importing {
  readonly #publisher: Publisher;
  readonly #images: ImagePublisher;
  readonly #published: ImportedImage[] = [];
  readonly #failed: FailedImage[] = [];
  readonly #lostPins: string[] = [];
  #position = 0;

  constructor(
    private readonly inputs: Inputs,
    registry: Registry,
    private readonly options: ImportOptions,
  ) {
    const { onEvent, signal } = options;
    this.#publisher = new Publisher(inputs.source, registry, {
      hasForeign: (digest) => inputs.hasForeign(digest),
      concurrency: options.concurrency ?? 8,
      onExistingTag: options.onExistingTag ?? 'overwrite',
      originalIndex: options.originalIndex ?? 'auto',
      onPlanned: ({ reference }, bytes) =>
        onEvent?.({
          ...{ event: 'image-planned', image: formatReference(reference) },
          ...{ images: inputs.count, bytes },
        }),
      warn: (message) => onEvent?.({ event: 'warning', message }),
      onEvent,
      signal,
    });
    this.#images = new ImagePublisher(this.#publisher, options);
  }

  async run(): Promise<ImportSummary> {
    const { to, onEvent } = this.options;
    const { content, count: images } = this.inputs;
    if (content !== undefined) {
      let signatures = 0;
      for (const { reference } of this.inputs.images) if (isCompanionTag(reference.tag)) signatures++;
      onEvent?.({ event: 'planned', images, signatures, ...content, resumedBytes: 0 });
    }
    await forEachOf(this.inputs.images, imageConcurrency, (image) => this.#attempt(image));
    await this.#images.finish();
    this.#publisher.tellUnread();
    const failed = this.#failed;
    // Signatures alone are no success: an image counts only if it was asked for.
    const isAny = this.#published.some(({ source }) => !isCompanionTag(parseReference(source).tag));
    if (failed.length > 0 && !isAny) {
      throw failureOf('import', failed, failed.length);
    }
    const target = to.prefix === undefined ? to.registry : `${to.registry}/${to.prefix}`;
    const { totals, unread } = this.#publisher;
    return { target, ...totals, unread, published: this.#published, failed, lostPins: this.#lostPins };
  }

  /** Publishes an image; with `keepGoing` a failure is noted. */
  async #attempt(image: Image): Promise<void> {
    const { onEvent, signal, keepGoing } = this.options;
    try {
      checkInterrupted(signal, 'import');
      await this.#publish(image);
    } catch (error) {
      if (signal?.aborted === true) throw interruption('import', signal);
      const told = (await this.inputs.explain?.(error)) ?? error;
      if (keepGoing !== true) throw told;
      const from = formatReference(image.reference);
      const plain = toPlainError(told);
      this.#failed.push({ image: from, error: plain });
      onEvent?.({ event: 'image-failed', image: from, message: plain.message, hint: plain.hint });
    }
  }

  async #publish(image: Image): Promise<void> {
    const { to, archTags, onEvent } = this.options;
    const name = siteReference(to, { source: image.reference, digest: image.root.digest });
    const single = archTags === true ? await archImages(this.inputs.source, image) : [];
    let left = 1 + single.length;
    let whole: Pointed | undefined;
    const note = (pointed: Pointed): void => {
      whole ??= pointed;
      this.#note(image, pointed);
      if (--left > 0) return;
      const { digest, outcome } = whole;
      onEvent?.({
        ...{ event: 'image-done', image: formatReference(name), digest, outcome },
        ...{ position: ++this.#position, images: this.inputs.count },
      });
    };
    await onceWhole(note, async (onDone) => {
      await this.#images.publish(image, name, onDone);
      for (const one of single) {
        const made = siteReference(to, { source: one.reference, digest: one.root.digest });
        await this.#images.publish(one, made, onDone);
      }
    });
  }

  #note(image: Image, { reference, digest, outcome, lostPin }: Pointed): void {
    const source = formatReference(image.reference);
    this.#published.push({ source, target: formatReference(reference), digest, outcome });
    if (lostPin !== undefined) this.#lostPins.push(`${formatRepository(reference)}@${lostPin}`);
  }
}

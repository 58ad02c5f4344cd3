import { forEachOf } from '../concurrency.js';
import { AirliftError, checkInterrupted, interruption, isAirliftError, toPlainError } from '../errors.js';
import { failureOf, type FailedImage } from '../failed-images.js';
import type { Digest } from '../oci/digest.js';
import { formatReference, formatRepository, type Reference } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import type { OnEvent } from '../progress.js';
import { siteText, type Site } from '../site/names.js';
import type { SiteRegistry } from './blob-publisher.js';
import {
  Publisher,
  type OnExistingTag,
  type OriginalIndex,
  type TagResult,
  type PublishOptions,
  type PublishOutcome,
  type PublishTotals,
} from './publisher.js';

/** Images published at a time; their blobs share a limit of their own. */
const imageConcurrency = 8;
/** Tags set at a time by an atomic run: they should all change within a short time. */
const tagConcurrency = 8;

/** Options that `copy` and `import` share. */
export interface PublishingOptions {
  /** The registry to publish to and the names that images get there. */
  readonly to: Site;
  readonly onExistingTag?: OnExistingTag | undefined;
  readonly originalIndex?: OriginalIndex | undefined;
  /** Concurrent blob transfers; default: 8. */
  readonly concurrency?: number | undefined;
  /** Publish the other images when some fail. */
  readonly keepGoing?: boolean | undefined;
  /** Update tags only after every image is fully pushed. */
  readonly atomic?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A name that a run published, and its outcome. */
export interface PublishedName {
  readonly source: string;
  readonly target: string;
  readonly digest: Digest;
  readonly outcome: PublishOutcome;
}

/** The result of a run. */
export interface PublishingSummary extends Readonly<PublishTotals> {
  readonly target: string;
  readonly published: readonly PublishedName[];
  readonly failed: readonly FailedImage[];
  /** Names that the registry accepted and refuses to show, for example images that Harbor has not scanned yet. */
  readonly unread: readonly string[];
  /** Digests of publishers' indexes that the registry refused: pulling by these digests fails there. */
  readonly lostPins: readonly string[];
}

/** An image and a name for it. */
export interface NamedPublication {
  readonly image: Image;
  readonly name: Reference;
  /** The image that results and failures name; default: the reference of `image`. */
  readonly source?: string | undefined;
  /** The only referrers to publish; default: all. */
  readonly referrers?: readonly Digest[] | undefined;
}

/**
 * Publishes an image under one name. An atomic run sets the tag later.
 * @returns the digests of the image's manifests
 */
export type PublishName = (publication: NamedPublication) => Promise<ReadonlySet<Digest>>;

/** The images of a run, and how to publish one of them. */
export interface PublishingWork<T> {
  readonly images: Iterable<T>;
  readonly count: number;
  referenceOf(image: T): Reference;
  /** Publishes an image under all of its names, its main name first. */
  publish(image: T, publishName: PublishName): Promise<void>;
  /** Reports whether an image belongs to another one, as signatures do: publishing nothing else is no success. */
  isAttached?(image: T): boolean;
  /** Replaces an error by the damage of the input that caused it. */
  readonly explain?: ((error: unknown) => Promise<unknown>) | undefined;
}

/**
 * One run of `copy` or `import`: publishes images, several at a time, collects failures, sets the tags of an atomic run last, and
 * sums up the results.
 */
export class PublishingRun {
  readonly #failed: FailedImage[] = [];
  #firstFailure: unknown;
  readonly #published: PublishedName[] = [];
  readonly #lostPins: string[] = [];
  /** Sets the tags of an atomic run. */
  readonly #taggings: (() => Promise<void>)[] = [];
  /** The images themselves, without signatures and names that are published along with them. */
  readonly #main = new WeakSet<Image>();
  #images = 0;
  #position = 0;
  #succeeded = 0;

  /** @throws AirliftError `usage` if both `atomic` and `keepGoing` are set */
  constructor(
    private readonly verb: 'copy' | 'import',
    private readonly options: PublishingOptions,
  ) {
    if (options.atomic !== true || options.keepGoing !== true) return;
    throw new AirliftError('usage', `${verb}: \`atomic\` and \`keepGoing\` contradict each other`, {
      hint: '`atomic` changes no tag when one image fails, `keepGoing` publishes the other images',
    });
  }

  /** Whether the run has to end: an image failed and `keepGoing` is not set. */
  get isOver(): boolean {
    return this.#failed.length > 0 && this.options.keepGoing !== true;
  }

  /**
   * Runs the work for one image; records and reports its failure.
   * @param explain replaces an error by the damage of the input that caused it
   * @returns whether it succeeded
   * @throws AirliftError `interrupted`
   */
  async attempt(
    image: string,
    work: () => Promise<void>,
    explain?: (error: unknown) => Promise<unknown>,
  ): Promise<boolean> {
    const { signal, onEvent } = this.options;
    try {
      checkInterrupted(signal, this.verb);
      await work();
      return true;
    } catch (error) {
      if (signal?.aborted === true) throw interruption(this.verb, signal);
      if (isAirliftError(error, 'interrupted')) throw error;
      const explained = (await explain?.(error)) ?? error;
      const plain = toPlainError(explained);
      if (this.#failed.push({ image, error: plain }) === 1) this.#firstFailure = explained;
      onEvent?.({ event: 'image-failed', image, message: plain.message, hint: plain.hint });
      return false;
    }
  }

  /**
   * Returns one error for all failed images: the image's own error if one failed.
   * @param images the number of all images
   */
  failure(images: number): unknown {
    if (this.#failed.length === 1) return this.#firstFailure;
    const { keepGoing } = this.options;
    const others = this.verb === 'copy' ? 'copies' : 'imports';
    const hint = keepGoing === true ? undefined : `\`keepGoing\` ${others} the others`;
    return failureOf(this.verb, this.#failed, images, hint);
  }

  /** Returns the publisher for a site, with the options of the run. */
  publisher(
    source: Source,
    site: SiteRegistry,
    settings: Pick<
      PublishOptions,
      'hasForeign' | 'heldBy' | 'referrers' | 'indexOnly' | 'lenient' | 'otherRepositories'
    >,
  ): Publisher {
    const { onEvent, signal, onExistingTag, originalIndex, concurrency } = this.options;
    return new Publisher(source, site, {
      ...settings,
      concurrency: concurrency ?? 8,
      onExistingTag: onExistingTag ?? 'overwrite',
      originalIndex: originalIndex ?? 'auto',
      onPlanned: (image, bytes) => {
        if (!this.#main.has(image)) return;
        onEvent?.({
          event: 'image-planned',
          image: formatReference(image.reference),
          images: this.#images,
          bytes,
        });
      },
      warn: (message) => onEvent?.({ event: 'warning', message }),
      onEvent,
      signal,
    });
  }

  /**
   * Publishes images. After a failure without `keepGoing`, finishes the images that are being published and starts no others.
   * @throws AirliftError the failure if nothing was published or `keepGoing` is not set; what setting the tags of an atomic run
   *   throws, after which some tags are changed
   */
  async publish<T>(publisher: Publisher, work: PublishingWork<T>): Promise<PublishingSummary> {
    const { to } = this.options;
    const { images, count } = work;
    this.#images = count;
    await forEachOf(images, imageConcurrency, async (image) => {
      if (this.isOver) return;
      const isPublished = await this.attempt(
        formatReference(work.referenceOf(image)),
        () => this.#publishImage(publisher, image, work),
        work.explain,
      );
      if (isPublished && work.isAttached?.(image) !== true) this.#succeeded++;
    });
    if (this.#failed.length === 0)
      await forEachOf(this.#taggings.splice(0), tagConcurrency, (setTag) => setTag());
    publisher.warnOfUnread();
    if (this.#failed.length > 0 && (this.isOver || this.#succeeded === 0))
      throw this.failure(this.isOver ? count : this.#failed.length);
    return {
      target: siteText(to),
      images: this.#published.filter(({ outcome }) => outcome !== 'skipped').length,
      ...publisher.totals,
      unread: publisher.unread,
      published: this.#published,
      failed: this.#failed,
      lostPins: this.#lostPins,
    };
  }

  /** Publishes one image and records its names once all of them are done: an image whose signature fails has failed. */
  async #publishImage<T>(publisher: Publisher, item: T, work: PublishingWork<T>): Promise<void> {
    const names: { readonly source: string; result?: TagResult }[] = [];
    let pending = 1;
    const done = (): void => {
      if (--pending === 0) this.#record(names, work.count);
    };
    await work.publish(item, async ({ image, name, source, referrers }) => {
      // Nothing else of the image is kept until the tags of an atomic run are set.
      const { reference, root, original } = image;
      const plain = { reference, root, original };
      const entry: (typeof names)[number] = { source: source ?? formatReference(reference) };
      if (names.push(entry) === 1) this.#main.add(plain);
      pending++;
      if (this.options.atomic === true) {
        const { lostPin, manifests } = await publisher.prepare(plain, name, referrers);
        this.#taggings.push(async () => {
          entry.result = await publisher.setTag(plain, name, lostPin);
          done();
        });
        return manifests;
      }
      const { manifests, ...result } = await publisher.publish(plain, name, referrers);
      entry.result = result;
      done();
      return manifests;
    });
    done();
  }

  #record(names: readonly { readonly source: string; readonly result?: TagResult }[], images: number): void {
    for (const { source, result } of names) {
      if (result === undefined) continue;
      const { reference, digest, outcome, lostPin } = result;
      this.#published.push({ source, target: formatReference(reference), digest, outcome });
      if (lostPin !== undefined) this.#lostPins.push(`${formatRepository(reference)}@${lostPin}`);
    }
    const main = names[0]?.result;
    if (main === undefined) return;
    const { reference, digest, outcome } = main;
    this.options.onEvent?.({
      event: 'image-done',
      image: formatReference(reference),
      digest,
      outcome,
      position: ++this.#position,
      images,
    });
  }
}

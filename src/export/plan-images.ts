/** The first half of an export: resolves and plans images. */
import { setMaxListeners } from 'node:events';
import type { BundleWriter } from '../bundle/write/writer.js';
import { abortSoon, forEachOf } from '../concurrency.js';
import {
  checkInterrupted,
  fromPlainError,
  isAirliftError,
  toPlainError,
  type AirliftError,
} from '../errors.js';
import { failureOf, type FailedImage } from '../failed-images.js';
import { readableOf } from '../oci/readable.js';
import { formatReference } from '../oci/reference.js';
import { changedSource, type Source } from '../oci/source.js';
import { isOutage, Outages } from '../plan/outages.js';
import { Planner, type PlanOptions, type PlanRequest } from '../plan/planner.js';
import type { OnEvent } from '../progress.js';
import type { SecretKey } from '../signing/secret-key.js';
import { PlanBook } from './plan-book.js';
import { FilteredIndexSigner } from './sign-filtered.js';

/** Images planned at a time: enough to hide a slow network, few enough for the rate limits of registries. */
const planConcurrency = 8;

export interface PlanImagesOptions extends PlanOptions {
  readonly images: readonly PlanRequest[];
  /** An ECDSA key that signs filtered images, as cosign does. */
  readonly signImages?: SecretKey | undefined;
  readonly keepGoing?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
}

/** An image of a list and its position there. */
export type ListEntry = readonly [position: number, request: PlanRequest];

export const keepGoingHint = '`keepGoing` exports the others';

/** Returns the planning options of an export, with its defaults. */
export function planOptionsOf(options: PlanImagesOptions): PlanImagesOptions {
  const { images, platforms, skipMissingPlatforms, signImages, keepGoing, onEvent, signal } = options;
  return {
    images,
    platforms,
    skipMissingPlatforms,
    referrers: options.referrers ?? true,
    foreignLayers: options.foreignLayers ?? 'include',
    signImages,
    keepGoing,
    onEvent,
    signal,
    warn: (message) => onEvent?.({ event: 'warning', message }),
  };
}

/**
 * Plans a bundle from every image of a list, and records the images that fail. A failing image does not stop the others, so that one run
 * reports everything that is wrong with a list.
 * @throws AirliftError if images failed and `keepGoing` is not set or no image is left; at once if a registry is unreachable and
 *   `keepGoing` is not set; `no-space`, `io`, `interrupted`
 */
export async function planBundle(
  writer: BundleWriter,
  source: Source,
  options: PlanImagesOptions,
): Promise<void> {
  const book = bookOf(writer, options);
  await planEntries(book, source, options, options.images.entries());
  const failures = book.failures();
  const error = planError(failures, options);
  if (error !== undefined) {
    // After an outage another run can use what this one fetched.
    if (!failures.some((failure) => isOutage(fromPlainError(failure.error)))) await writer.discardPlan();
    throw error;
  }
  for (const failure of failures) writer.addFailure(failure);
}

/** Returns the book of a bundle that is being planned. */
export function bookOf(writer: BundleWriter, { images, signImages }: PlanImagesOptions): PlanBook {
  const signer = signImages === undefined ? undefined : new FilteredIndexSigner(writer, signImages, images);
  return PlanBook.of(writer, signer);
}

/** Returns the error of a plan that cannot be carried out because images failed. */
export function planError(
  failed: readonly FailedImage[],
  { images, keepGoing }: PlanImagesOptions,
): AirliftError | undefined {
  if (failed.length === 0 || (keepGoing === true && failed.length < images.length)) return undefined;
  return failureOf('export', failed, images.length, keepGoingHint);
}

/**
 * Resolves and plans some images of a list.
 * @throws AirliftError at once if a registry is unreachable and `keepGoing` is not set; `no-space`, `io`, `interrupted`
 */
export async function planEntries(
  book: PlanBook,
  source: Source,
  options: PlanImagesOptions,
  entries: Iterable<ListEntry>,
): Promise<void> {
  const { images, keepGoing, onEvent, signal } = options;
  // A failure that ends the run also ends the plans beside it.
  const run = new AbortController();
  setMaxListeners(0, run.signal);
  const stop = (): void => run.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  const planner = new Planner(withFetched(source, book), book.sink, {
    ...options,
    lenient: true,
    signal: run.signal,
  });
  let soon: NodeJS.Timeout | undefined;
  const outages = new Outages();
  let resolved = 0;
  const plan = async ([position, request]: ListEntry): Promise<void> => {
    const image = nameOf(request);
    const { registry } = request.reference;
    try {
      checkInterrupted(signal, 'plan');
      outages.check(registry);
      book.addImages(position, await planner.plan(request));
      outages.succeeded(registry);
      onEvent?.({ event: 'resolved', image, position: ++resolved, images: images.length });
    } catch (error) {
      const isFatal = isAirliftError(error, 'interrupted', 'no-space', 'io') || signal?.aborted === true;
      if (!isFatal) outages.failed(registry, error);
      if (isFatal || (keepGoing !== true && isOutage(error))) {
        soon ??= abortSoon(run, error);
        throw error;
      }
      const failed = { image, error: toPlainError(error) };
      book.addFailure({ ...failed, position });
      reportFailed(failed, onEvent);
    }
  };
  try {
    await forEachOf(entries, planConcurrency, plan);
  } finally {
    clearTimeout(soon);
    signal?.removeEventListener('abort', stop);
  }
}

export function nameOf({ reference }: PlanRequest): string {
  return formatReference(reference);
}

/** Emits the event of a failed image. */
export function reportFailed({ image, error }: FailedImage, onEvent: OnEvent | undefined): void {
  onEvent?.({ event: 'image-failed', image, message: error.message, hint: error.hint });
}

/** Returns a source that serves manifests and configs of an interrupted run before it asks the registries. */
function withFetched(source: Source, book: PlanBook): Source {
  return changedSource(source, {
    fetch: async (repository, descriptor, options) => {
      const fetched = book.fetched(descriptor.digest);
      if (fetched === undefined) return source.fetch(repository, descriptor, options);
      return readableOf(fetched, options?.offset);
    },
  });
}

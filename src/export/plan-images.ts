/** The first half of an export: images are looked up and planned. */
import { setMaxListeners } from 'node:events';
import { checkInterrupted, fromPlainError, isAirliftError, toPlainError } from '../errors.js';
import { failureOf, type FailedImage } from '../failed-images.js';
import type { PlanSink } from '../plan/graph.js';
import type { Digest } from '../oci/digest.js';
import { readableOf } from '../oci/readable.js';
import { formatReference } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import { isOutage, Outages } from '../plan/outages.js';
import { Planner, type PlannedImage, type PlanOptions, type PlanRequest } from '../plan/planner.js';
import type { OnEvent } from '../progress.js';
import { abortSoon, forEachOf } from '../concurrency.js';

/** Manifests looked up at a time: enough to hide a slow network, few enough for a registry's limits. */
const planConcurrency = 8;

export interface PlanImagesOptions extends PlanOptions {
  readonly images: readonly PlanRequest[];
  readonly keepGoing?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
}

/** An image of a list, and its place there. */
export type ListEntry = readonly [at: number, request: PlanRequest];

export const keepGoingHint = '`keepGoing` exports the others';

/** What an export says of planning. */
export function planOptionsOf(options: PlanImagesOptions): PlanImagesOptions {
  const { images, platforms, skipMissingPlatforms, referrers, foreignLayers, keepGoing } = options;
  const { onEvent, signal } = options;
  return {
    ...{ images, platforms, skipMissingPlatforms, keepGoing, onEvent, signal },
    referrers: referrers ?? true,
    foreignLayers: foreignLayers ?? 'include',
    warn: (message) => onEvent?.({ event: 'warning', message }),
  };
}

/** Takes a plan, image by image. Positions are those of the list. */
export interface PlanBook {
  readonly sink: PlanSink;
  /** The image that was asked for, behind it the signatures under tags. */
  addImages(at: number, images: readonly PlannedImage[]): void;
  addFailure(at: number, failed: FailedImage): void;
  /** In the order of the list. */
  failures(): readonly FailedImage[];
  /** Content that was fetched before. */
  kept?(digest: Digest): Buffer | undefined;
  /** Forgets a plan that can't be carried out. */
  discard?(): Promise<void>;
}

/**
 * Resolves every image and enters the plan into a book. What fails is noted there; every image is looked up even so, that all
 * that is wrong with a list is told at once.
 * @throws AirliftError where images failed and `keepGoing` is not set or none is left; at once where a registry can't be
 *   reached and `keepGoing` is not set; `interrupted`
 */
export async function planImages(book: PlanBook, source: Source, options: PlanImagesOptions): Promise<void> {
  const { images, keepGoing } = options;
  await lookUp(book, source, options, images.entries());
  const failed = book.failures();
  if (failed.length > 0 && (keepGoing !== true || failed.length === images.length)) {
    if (!failed.some(({ error }) => isOutage(fromPlainError(error)))) await book.discard?.();
    throw failureOf('export', failed, images.length, keepGoingHint);
  }
}

/**
 * Looks up some images of a list and enters them into a book, or that they failed.
 * @throws AirliftError at once where a registry can't be reached and `keepGoing` is not set; `no-space`, `io`, `interrupted`
 */
export async function lookUp(
  book: PlanBook,
  source: Source,
  options: PlanImagesOptions,
  entries: Iterable<ListEntry>,
): Promise<void> {
  const { images, keepGoing, onEvent, signal } = options;
  // A failure that ends the run ends what is looked up beside it too.
  const run = new AbortController();
  setMaxListeners(0, run.signal);
  const stop = (): void => run.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  const planner = new Planner(withKept(source, book), book.sink, {
    ...options,
    lenient: true,
    signal: run.signal,
  });
  let soon: NodeJS.Timeout | undefined;
  const outages = new Outages();
  let resolved = 0;
  const work = async ([at, request]: ListEntry): Promise<void> => {
    const image = nameOf(request);
    const { registry } = request.reference;
    try {
      checkInterrupted(signal, 'plan');
      outages.check(registry);
      book.addImages(at, await planner.plan(request));
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
      book.addFailure(at, failed);
      tellFailed(failed, onEvent);
    }
  };
  try {
    await forEachOf(entries, planConcurrency, work);
  } finally {
    clearTimeout(soon);
    signal?.removeEventListener('abort', stop);
  }
}

export function nameOf({ reference }: PlanRequest): string {
  return formatReference(reference);
}

export function tellFailed({ image, error }: FailedImage, onEvent: OnEvent | undefined): void {
  onEvent?.({ event: 'image-failed', image, message: error.message, hint: error.hint });
}

/** The registries, and before them what an interrupted run fetched of manifests and configs. */
function withKept(source: Source, book: PlanBook): Source {
  return {
    resolve: (reference, options) => source.resolve(reference, options),
    referrers: (repository, digest, options) => source.referrers(repository, digest, options),
    distrust: async (repository, descriptor) => (await source.distrust?.(repository, descriptor)) === true,
    fetch: async (repository, descriptor, options) => {
      const kept = book.kept?.(descriptor.digest);
      if (kept === undefined) return source.fetch(repository, descriptor, options);
      return readableOf(kept, options?.offset);
    },
  };
}

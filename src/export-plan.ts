/** The first half of an export: images are looked up, and the plan is written into the bundle's journal. */
import { Readable } from 'node:stream';
import { writerSink } from './bundle-sink.js';
import type { BundleWriter } from './bundle/writer.js';
import { AirliftError, fromPlainError, isAirliftError, toPlainError, type PlainError } from './errors.js';
import { formatReference } from './oci/reference.js';
import type { Source } from './oci/source.js';
import { isOutage, Outages } from './outages.js';
import { Planner, type PlanOptions, type PlanRequest } from './plan.js';
import type { OnEvent } from './progress.js';
import { forEachOf } from './slots.js';

/** Manifests looked up at a time: enough to hide a slow network, few enough for a registry's limits. */
const planConcurrency = 8;

export interface FailedImage {
  readonly image: string;
  readonly error: PlainError;
}

export interface PlanImagesOptions extends PlanOptions {
  readonly images: readonly PlanRequest[];
  readonly keepGoing: boolean;
  readonly onEvent?: OnEvent | undefined;
}

/**
 * Resolves every image and writes the plan into the bundle's journal. What fails is noted there; every image is looked up
 * even so, that all that is wrong with a list is told at once.
 * @throws AirliftError where images failed and `keepGoing` is not set or none is left; at once where a registry can't be
 *   reached and `keepGoing` is not set; `interrupted`
 */
export async function planImages(
  writer: BundleWriter,
  source: Source,
  options: PlanImagesOptions,
): Promise<void> {
  const { images, keepGoing, onEvent, signal } = options;
  const planner = new Planner(withKept(source, writer), writerSink(writer), options);
  const outages = new Outages();
  let position = 0;
  const lookUp = async (request: PlanRequest, at: number): Promise<void> => {
    const name = formatReference(request.reference);
    const { registry } = request.reference;
    try {
      signal?.throwIfAborted();
      outages.check(registry);
      for (const image of await planner.plan(request)) writer.addImage(image);
      outages.succeeded(registry);
      onEvent?.({ event: 'resolved', image: name, position: ++position, images: images.length });
    } catch (error) {
      if (isAirliftError(error, 'interrupted', 'no-space', 'io') || signal?.aborted === true) throw error;
      outages.failed(registry, error);
      if (!keepGoing && isOutage(error)) throw error;
      const plain = toPlainError(error);
      writer.addFailure(at, name, plain);
      onEvent?.({ event: 'image-failed', image: name, message: plain.message, hint: plain.hint });
    }
  };
  await forEachOf(images.entries(), planConcurrency, ([at, request]) => lookUp(request, at));
  const failed = writer.failures();
  if (failed.length > 0 && (!keepGoing || failed.length === images.length)) {
    if (!failed.some(({ error }) => isOutage(fromPlainError(error)))) await writer.discardPlan();
    throw failureOf(failed, images.length);
  }
}

/** One error for the images that failed: their own where it is one, a list where there are more. */
export function failureOf(failed: readonly FailedImage[], images: number): AirliftError {
  const [first] = failed;
  if (first !== undefined && failed.length === 1) return fromPlainError(first.error);
  return new AirliftError(
    first?.error.code ?? 'input',
    `export: ${failed.length} of ${images} images failed, each is named above`,
    { hint: failed.length < images ? '--keep-going exports the others' : undefined },
  );
}

/** The registries, and before them what an interrupted run fetched of manifests and configs. */
function withKept(source: Source, writer: BundleWriter): Source {
  return {
    resolve: (reference, options) => source.resolve(reference, options),
    referrers: (repository, digest, options) => source.referrers(repository, digest, options),
    fetch: async (repository, descriptor, options) => {
      const kept = writer.content(descriptor.digest);
      if (kept === undefined) return source.fetch(repository, descriptor, options);
      return Readable.from([kept.subarray(options?.offset ?? 0)], { objectMode: false });
    },
  };
}

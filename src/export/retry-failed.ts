/** A rerun of an export retries the images that an interrupted run had to leave out. */
import type { BundleWriter, Failure } from '../bundle/write/writer.js';
import { failureOf } from '../failed-images.js';
import type { Source } from '../oci/source.js';
import {
  bookOf,
  keepGoingHint,
  nameOf,
  planEntries,
  reportFailed,
  type ListEntry,
  type PlanImagesOptions,
} from './plan-images.js';

/**
 * Retries the images that failed in an interrupted run and are missing from its layout. Images that succeed now join the plan; the change
 * takes effect as a whole or not at all. The others are recorded as failed again.
 * @throws AirliftError if images fail again and `keepGoing` is not set; `interrupted`
 */
export async function planFailedImages(
  writer: BundleWriter,
  source: Source,
  options: PlanImagesOptions,
): Promise<void> {
  const before = new Map(writer.failures().map((failure) => [failure.image, failure]));
  const entries = [...options.images.entries()].filter(([, request]) => before.has(nameOf(request)));
  if (entries.length === 0) return;
  const book = bookOf(writer, options);
  const promising: ListEntry[] = [];
  for (const entry of entries) {
    const failure = before.get(nameOf(entry[1]));
    if (failure?.lost === undefined || (await isAvailable(source, failure.lost, options.signal))) {
      promising.push(entry);
      continue;
    }
    reportFailed(failure, options.onEvent);
    book.addFailure(failure);
  }
  writer.extend();
  await planEntries(book, source, options, promising);
  const failures = book.failures();
  if (failures.length > 0 && options.keepGoing !== true)
    throw failureOf('export', failures, options.images.length, keepGoingHint);
  if (failures.length === entries.length) writer.revertExtension();
  for (const failure of failures) writer.addFailure(failure);
}

/** Reports whether a lost blob is available now, as far as the start of the registry's answer shows. */
async function isAvailable(
  source: Source,
  { repository, descriptor }: NonNullable<Failure['lost']>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    const stream = await source.fetch(repository, descriptor, { signal });
    stream.on('error', () => undefined).destroy();
    return true;
  } catch (error) {
    if (signal?.aborted === true) throw error;
    return false;
  }
}

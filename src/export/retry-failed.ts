/** A rerun of an export looks up what an interrupted run had to leave out. */
import type { BundleWriter, Failure } from '../bundle/write/writer.js';
import { WriterBook } from './plan-book.js';
import {
  keepGoingHint,
  lookUp,
  nameOf,
  tellFailed,
  type ListEntry,
  type PlanBook,
  type PlanImagesOptions,
} from './plan-images.js';
import { failureOf, type FailedImage } from '../failed-images.js';
import type { Source } from '../oci/source.js';
import type { PlannedImage } from '../plan/planner.js';

/** Keeps failures to itself until it is known whether the plan changes at all. */
class SecondBook implements PlanBook {
  readonly again: Failure[] = [];
  readonly #book: WriterBook;

  constructor(private readonly writer: BundleWriter) {
    this.#book = new WriterBook(writer);
  }

  get sink(): PlanBook['sink'] {
    return this.#book.sink;
  }

  addImages(at: number, images: readonly PlannedImage[]): void {
    this.#book.addImages(at, images);
  }

  addFailure(position: number, failed: FailedImage): void {
    this.again.push({ ...failed, position });
  }

  failures(): readonly FailedImage[] {
    return this.writer.failures();
  }
}

/**
 * Looks up once more the images that an interrupted run had to leave out of a plan that it laid out. Those that can be had now
 * join the plan, as a whole or not at all; the others are noted again.
 * @throws AirliftError where images fail again and `keepGoing` is not set; `interrupted`
 */
export async function planFailedImages(
  writer: BundleWriter,
  source: Source,
  options: PlanImagesOptions,
): Promise<void> {
  const before = new Map(writer.failures().map((failure) => [failure.image, failure]));
  const entries = [...options.images.entries()].filter(([, request]) => before.has(nameOf(request)));
  if (entries.length === 0) return;
  const book = new SecondBook(writer);
  const promising: ListEntry[] = [];
  for (const entry of entries) {
    const failure = before.get(nameOf(entry[1]));
    if (failure?.lost === undefined || (await isThere(source, failure.lost, options.signal))) {
      promising.push(entry);
      continue;
    }
    tellFailed(failure, options.onEvent);
    book.again.push(failure);
  }
  writer.extend();
  await lookUp(book, source, options, promising);
  const { again } = book;
  if (again.length > 0 && options.keepGoing !== true)
    throw failureOf('export', again, options.images.length, keepGoingHint);
  if (again.length === entries.length) writer.takeBack();
  for (const failure of again) writer.addFailure(failure);
}

/** Whether a blob that could not be had can be had now, as far as the begin of an answer tells. */
async function isThere(
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

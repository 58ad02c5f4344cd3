import { setMaxListeners } from 'node:events';
import { AirliftError } from './errors.js';

/** Limits concurrent work to `count` tasks; the others wait in order. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = Math.max(1, count);
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/** Calls `next` until it returns false. */
async function repeat(next: () => Promise<boolean>): Promise<void> {
  while (await next()) continue;
}

/**
 * Runs `work` for each item, at most `count` at a time. Takes the next item only when there is a free slot, so that a long list is
 * never in memory as a whole. After the first failure of `work` or `items`, starts no further work.
 * @throws the first failure, after all running work has ended
 */
export async function forEachOf<T>(
  items: Iterable<T> | AsyncIterable<T>,
  count: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const failures: unknown[] = [];
  let isDone = false;
  // One call at a time: a generator does not allow concurrent calls.
  let previous: Promise<unknown> = Promise.resolve();
  const takeItem = async (): Promise<IteratorResult<T, unknown> | undefined> => {
    const taken = previous.then(async () => {
      if (isDone || failures.length > 0) return undefined;
      const result = await iterator.next();
      if (result.done === true) isDone = true;
      return result;
    });
    previous = taken.catch(() => undefined);
    return taken;
  };
  const next = async (): Promise<boolean> => {
    try {
      const result = await takeItem();
      if (result === undefined || result.done === true) return false;
      await work(result.value);
      return true;
    } catch (error) {
      failures.push(error);
      return false;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, count) }, () => repeat(next)));
  if (failures.length === 0) return;
  // Lets a generator that was not read to its end release its resources.
  if (!isDone) await iterator.return?.();
  throw failures[0];
}

/** Milliseconds that other work gets to finish after a failure: a download that is nearly complete should not be wasted. */
const gracePeriod = 1000;

/** Aborts after a grace period. */
export function abortSoon(controller: AbortController, reason: unknown): NodeJS.Timeout {
  return setTimeout(() => controller.abort(reason), gracePeriod);
}

/**
 * Runs `work` for all items concurrently with one shared signal, which is aborted with `signal` and soon after the first failure.
 * Settles when all of them have ended.
 * @throws the first failure
 */
export async function allLinked<T, R>(
  items: Iterable<T>,
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const link = new AbortController();
  setMaxListeners(0, link.signal);
  const stop = (): void => link.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted === true) stop();
  let failure: { readonly error: unknown } | undefined;
  let soon: NodeJS.Timeout | undefined;
  const results = await Promise.allSettled(
    [...items].map((item) =>
      work(item, link.signal).catch((error: unknown) => {
        failure ??= { error };
        soon ??= abortSoon(link, new AirliftError('interrupted', 'concurrent work failed'));
        throw error;
      }),
    ),
  );
  clearTimeout(soon);
  signal?.removeEventListener('abort', stop);
  if (failure !== undefined) throw failure.error;
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

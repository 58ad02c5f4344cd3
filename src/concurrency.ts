import { setMaxListeners } from 'node:events';
import { AirliftError } from './errors.js';

/** Lets at most `count` pieces of work run at a time; the rest wait in order. */
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

/** Runs `next` until it has nothing left to do. */
async function repeat(next: () => Promise<boolean>): Promise<void> {
  while (await next()) continue;
}

/**
 * Runs `work` over items, at most `count` at a time, and takes the next item only when there is room: a long list is never
 * held whole. After the first failure, of `work` or of `items`, nothing new begins; it is thrown once everything that runs
 * has ended.
 */
export async function forEachOf<T>(
  items: Iterable<T> | AsyncIterable<T>,
  count: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const failures: unknown[] = [];
  let isDone = false;
  // Items are taken one after the other: a generator must not be asked for two at a time.
  let turn: Promise<unknown> = Promise.resolve();
  const take = async (): Promise<IteratorResult<T, unknown> | undefined> => {
    const taken = turn.then(async () => {
      if (isDone || failures.length > 0) return undefined;
      const result = await iterator.next();
      if (result.done === true) isDone = true;
      return result;
    });
    turn = taken.catch(() => undefined);
    return taken;
  };
  const next = async (): Promise<boolean> => {
    try {
      const result = await take();
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
  // A generator that was not read to its end releases what it holds.
  if (!isDone) await iterator.return?.();
  throw failures[0];
}

/** Milliseconds that what runs beside a failure has to end: a download that is nearly there was paid for. */
const grace = 1000;

/** Aborts after a short grace. */
export function abortSoon(controller: AbortController, reason: unknown): NodeJS.Timeout {
  return setTimeout(() => controller.abort(reason), grace);
}

/**
 * Runs `work` over all items beside each other, with one signal that links them: it is aborted with `signal`, and soon after the first
 * failure, so that nobody goes on for nothing. Ends when all of them have ended.
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
        soon ??= abortSoon(link, new AirliftError('interrupted', 'something beside it failed'));
        throw error;
      }),
    ),
  );
  clearTimeout(soon);
  signal?.removeEventListener('abort', stop);
  if (failure !== undefined) throw failure.error;
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

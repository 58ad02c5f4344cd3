import { interruption } from '../errors.js';

/**
 * Returns the milliseconds to wait before retry number `attempt` (the first is 1): exponential, with jitter between half the wait and
 * all of it.
 * @param first milliseconds of the first wait
 * @param longest milliseconds that no wait exceeds; default: 30 seconds
 */
export function backoff(attempt: number, first: number, longest = 30_000): number {
  const ceiling = Math.min(longest, first * 2 ** (attempt - 1));
  return Math.round(ceiling / 2 + (Math.random() * ceiling) / 2);
}

/**
 * Waits. An abort of one of the signals ends the wait at once and releases the timer.
 * @param doing the work that waits, for the message
 * @throws AirliftError `interrupted`
 */
export function pause(
  milliseconds: number,
  doing: string,
  ...signals: readonly (AbortSignal | undefined)[]
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', stop);
    };
    const stop = (): void => {
      const aborted = signals.find((signal) => signal?.aborted === true);
      if (aborted === undefined) return;
      end();
      reject(interruption(doing, aborted));
    };
    const timer = setTimeout(() => {
      end();
      resolve();
    }, milliseconds);
    for (const signal of signals) signal?.addEventListener('abort', stop, { once: true });
    stop();
  });
}

/**
 * Waits for shared work until `signal` is aborted; the work continues for its other callers.
 * @throws AirliftError `interrupted`; what the work throws
 */
export async function untilAborted<T>(
  work: Promise<T>,
  doing: string,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return work;
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(interruption(doing, signal));
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}

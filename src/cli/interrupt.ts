import { setMaxListeners } from 'node:events';
import { AirliftError } from '../errors.js';
import { exitCodes } from './exit-codes.js';
import { printNote } from './print.js';

/**
 * Runs `work` with a signal that Ctrl-C aborts: the first time work ends by itself and can be gone on with, the second time
 * the process ends at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  // Every request under way listens.
  setMaxListeners(0, stop.signal);
  const onInterrupt = (): void => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    printNote('stopping; press Ctrl-C again to stop at once');
    stop.abort();
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  try {
    return await work(stop.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

/** The error to show for one of a verb that sends what a registry lacks: where it was interrupted, how to go on. */
export function withWayOn(error: unknown): unknown {
  if (!(error instanceof AirliftError) || error.code !== 'interrupted') return error;
  return new AirliftError('interrupted', error.message, {
    cause: error,
    hint: 'run the same command again: it sends only what is missing',
  });
}

import { setMaxListeners } from 'node:events';
import { AirliftError, interruption, isAirliftError } from '../errors.js';
import { exitCodes } from './exit-codes.js';
import { printNote } from './print.js';

/** Milliseconds that work has to end by itself after an interruption; what it left is as after a crash then, which every verb can resume. */
const patience = 900;

const defaultHint = 'run the same command again';

/** The one error for everything that an interruption makes work throw, whatever part of it noticed first. */
function interrupted(error: unknown, signal: AbortSignal): AirliftError {
  const own = isAirliftError(error, 'interrupted') ? error : interruption('airlift', signal);
  return new AirliftError('interrupted', own.message, { hint: own.hint ?? defaultHint, cause: error });
}

/**
 * Runs `work` with a signal that Ctrl-C aborts: the first time work ends by itself, within a second, and can be resumed; the
 * second time the process ends at once.
 * @param milliseconds that work has to end by itself; Infinity for what lets others finish. Default 900.
 * @throws AirliftError `interrupted` with how to resume, for whatever `work` throws after an interruption
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  milliseconds = patience,
): Promise<T> {
  const stop = new AbortController();
  // Every request under way listens.
  setMaxListeners(0, stop.signal);
  let timer: NodeJS.Timeout | undefined;
  let giveUp: ((error: Error) => void) | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => (giveUp = reject));
  tooLate.catch(() => undefined);
  const onInterrupt = (): void => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    printNote('stopping; press Ctrl-C again to stop at once');
    stop.abort();
    if (milliseconds === Infinity) return;
    timer = setTimeout(() => giveUp?.(interruption('airlift', stop.signal)), milliseconds);
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  try {
    return await Promise.race([work(stop.signal), tooLate]);
  } catch (error) {
    throw stop.signal.aborted ? interrupted(error, stop.signal) : error;
  } finally {
    clearTimeout(timer);
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

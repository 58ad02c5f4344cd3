import { setMaxListeners } from 'node:events';
import { AirliftError, interruption, isAirliftError } from '../errors.js';
import { exitCodes } from './exit-codes.js';
import { printNote } from './print.js';

/** Milliseconds that work may take to stop after an interruption. Work cut off then leaves the state of a crash, which every command can resume. */
const stopTimeout = 900;

const defaultHint = 'run the same command again';

export interface InterruptOptions {
  /** Time that work may take to stop; default: 900. Infinity waits for it. */
  readonly milliseconds?: number;
  /** Names work that did not stop in time, for the message; default: `airlift`. */
  readonly doing?: string;
  /** The hint for work that did not stop in time; default: to run the same command again. */
  readonly hint?: string;
}

/** Maps whatever interrupted work throws to one error. */
function interrupted(error: unknown, doing: string, signal: AbortSignal): AirliftError {
  const own = isAirliftError(error, 'interrupted') ? error : interruption(doing, signal);
  return new AirliftError('interrupted', own.message, { hint: own.hint ?? defaultHint, cause: error });
}

/**
 * Runs `work` with a signal that Ctrl-C aborts. The first Ctrl-C lets work stop by itself; the second one ends the process.
 * @throws AirliftError `interrupted` with a hint, for whatever `work` throws after an interruption
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { milliseconds = stopTimeout, doing = 'airlift', hint }: InterruptOptions = {},
): Promise<T> {
  const stop = new AbortController();
  // Every active request adds a listener.
  setMaxListeners(0, stop.signal);
  let timer: NodeJS.Timeout | undefined;
  let rejectLate: ((error: Error) => void) | undefined;
  const timedOut = new Promise<never>((_resolve, reject) => (rejectLate = reject));
  timedOut.catch(() => undefined);
  const onInterrupt = (): void => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    printNote('stopping; press Ctrl-C again to stop at once');
    stop.abort();
    if (milliseconds === Infinity) return;
    const late = new AirliftError('interrupted', `${doing}: interrupted`, { hint });
    timer = setTimeout(() => rejectLate?.(late), milliseconds);
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  try {
    return await Promise.race([work(stop.signal), timedOut]);
  } catch (error) {
    throw stop.signal.aborted ? interrupted(error, doing, stop.signal) : error;
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

/** Adds the resume hint of commands that push to a registry, if `error` is an interruption. */
export function withResumeHint(error: unknown): unknown {
  if (!(error instanceof AirliftError) || error.code !== 'interrupted') return error;
  return new AirliftError('interrupted', error.message, {
    cause: error,
    hint: 'run the same command again: it sends only what is missing',
  });
}

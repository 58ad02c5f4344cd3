import { checkInterrupted } from '../errors.js';

/**
 * Opens content with a signal that applies only until the content is open: an interruption does not cut off a transfer that is
 * nearly complete.
 * @throws AirliftError `interrupted`; what `open` throws
 */
export async function whileOpening<T>(
  signal: AbortSignal | undefined,
  open: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  checkInterrupted(signal, 'open content');
  const opening = new AbortController();
  const stop = (): void => opening.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await open(opening.signal);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

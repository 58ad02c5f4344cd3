import { checkInterrupted } from '../errors.js';

/**
 * Opens content with a signal that counts until it is open: an interruption does not break off what is nearly sent.
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

import { createInterface } from 'node:readline';
import { interruption } from '../errors.js';

/** Reads answers from standard input: of a terminal, or the lines of a script. */
export interface LineReader {
  /** Returns the next line without blanks around it; undefined at the end of the input. Rejects when the signal is aborted. */
  next(signal: AbortSignal | undefined): Promise<string | undefined>;
  close(): void;
}

/**
 * Reads lines from standard input; touches it only when the first line is wanted.
 * @param doing the name of the work in the error of an interruption
 */
export function lineReader(doing: string): LineReader {
  let input: ReturnType<typeof createInterface> | undefined;
  let lines: AsyncIterator<string> | undefined;
  return {
    next: (signal) => {
      // Not a terminal for readline: the system edits the line, and Ctrl-C stays a signal.
      input ??= createInterface({ input: process.stdin, terminal: false });
      lines ??= input[Symbol.asyncIterator]();
      return nextLine(lines, doing, signal);
    },
    close: () => input?.close(),
  };
}

function nextLine(
  lines: AsyncIterator<string>,
  doing: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      if (signal !== undefined) reject(interruption(doing, signal));
    };
    if (signal?.aborted === true) return stop();
    signal?.addEventListener('abort', stop, { once: true });
    lines
      .next()
      .then(({ value, done }) => resolve(done === true ? undefined : value.trim()), reject)
      .finally(() => signal?.removeEventListener('abort', stop));
  });
}

import { createInterface } from 'node:readline';
import { interruption } from '../errors.js';
import type { AskVolume } from '../index.js';
import { printNote } from './print.js';

/** Resolves to the next line, or to undefined at the end; rejects when the signal is aborted. */
function nextLine(
  lines: AsyncIterator<string>,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      if (signal !== undefined) reject(interruption('import', signal));
    };
    if (signal?.aborted === true) return stop();
    signal?.addEventListener('abort', stop, { once: true });
    lines
      .next()
      .then(({ value, done }) => resolve(done === true ? undefined : value), reject)
      .finally(() => signal?.removeEventListener('abort', stop));
  });
}

/** Asks for volumes on standard error, and reads the answers from standard input: a terminal, or lines of a script. */
export function volumeAsker(): { readonly ask: AskVolume; close(): void } {
  let input: ReturnType<typeof createInterface> | undefined;
  let lines: AsyncIterator<string> | undefined;
  return {
    ask: async ({ number, volumes, name, directories, problems }, signal) => {
      problems.forEach(printNote);
      if (problems.length === 0) printNote(`${name} is not in ${directories.join(', ')}`);
      printNote(`insert volume ${number} of ${volumes}, then press Enter (or type another directory)`);
      // Not a terminal for readline: the system edits the line, and Ctrl-C stays a signal.
      input ??= createInterface({ input: process.stdin, terminal: false });
      lines ??= input[Symbol.asyncIterator]();
      return (await nextLine(lines, signal))?.trim();
    },
    close: () => input?.close(),
  };
}

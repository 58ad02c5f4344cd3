import type { AskVolume } from '../index.js';
import { lineReader } from './ask-line.js';
import { printNote } from './print.js';

/** Asks for volumes on standard error, and reads the answers from standard input: a terminal, or lines of a script. */
export function volumeAsker(): { readonly ask: AskVolume; close(): void } {
  const lines = lineReader('import');
  return {
    ask: ({ number, volumes, name, directories, problems }, signal) => {
      problems.forEach(printNote);
      if (problems.length === 0) printNote(`${name} is not in ${directories.join(', ')}`);
      printNote(`insert volume ${number} of ${volumes}, then press Enter (or type another directory)`);
      return lines.next(signal);
    },
    close: () => lines.close(),
  };
}

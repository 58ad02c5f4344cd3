import { fileURLToPath } from 'node:url';
import { run, type Ran, type RunOptions } from './peers.js';

/** The program as it is installed, from `dist/test/support`. */
export const airliftPath = fileURLToPath(new URL('../../../bin/airlift.js', import.meta.url));

/** Runs airlift's command line as a process of its own. It fails where the exit code is not among `codes` (default `[0]`). */
export function airlift(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return run(process.execPath, [airliftPath, ...args], options);
}

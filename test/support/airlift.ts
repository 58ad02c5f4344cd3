import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, type Ran, type RunOptions } from './peers.js';

/** The program as it is installed, from `dist/test/support`. */
export const airliftPath = fileURLToPath(new URL('../../../bin/airlift.js', import.meta.url));

const state = mkdtempSync(join(tmpdir(), 'airlift-state-'));
process.once('exit', () => rmSync(state, { recursive: true, force: true }));

/** Has runs keep what they go on with apart from what the user's own runs keep. */
export const stateEnv = { XDG_STATE_HOME: state };

/** Runs airlift's command line as a process of its own. It fails where the exit code is not among `codes` (default `[0]`). */
export function airlift(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return run(process.execPath, [airliftPath, ...args], {
    ...options,
    env: { ...stateEnv, ...options.env },
  });
}

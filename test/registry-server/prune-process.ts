/** Prunes a store over and over in a process of its own, for tests that kill it: `node prune-process.js DIRECTORY`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { pruneStore } from '../../src/registry-server/prune.js';

const self = fileURLToPath(import.meta.url);

/** Starts a process that prunes; it prints a line after each run. */
export function startPruning(directory: string): { kill(): Promise<void>; runs(): number } {
  const child = spawn(process.execPath, [self, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return {
    runs: () => output.split('\n').length - 1,
    kill: async () => {
      const ended = once(child, 'exit');
      if (child.kill('SIGKILL')) await ended;
    },
  };
}

if (process.argv[1] === self) {
  for (;;) console.log((await pruneStore(process.argv[2] ?? '')).blobs);
}

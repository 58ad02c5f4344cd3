import { join } from 'node:path';
import { run, type RunResult, type RunOptions } from './peers.js';

/** Returns a function that runs podman with its storage below `dir`. The test must skip with `needs('podman')`. */
export function podmanIn(dir: string): (args: readonly string[], options?: RunOptions) => Promise<RunResult> {
  const storageFlags = [
    ...['--root', join(dir, 'podman'), '--runroot', join(dir, 'podman-run')],
    ...['--tmpdir', join(dir, 'podman-tmp'), '--storage-driver', 'vfs', '--events-backend', 'none'],
  ];
  return (args, options) => run('podman', [...storageFlags, ...args], options);
}

import { join } from 'node:path';
import { run, type RunResult, type RunOptions } from './peers.js';

/** Returns podman's flags for storage below `dir`. */
export function podmanFlags(dir: string): string[] {
  return [
    ...['--root', join(dir, 'podman'), '--runroot', join(dir, 'podman-run')],
    ...['--tmpdir', join(dir, 'podman-tmp'), '--storage-driver', 'vfs', '--events-backend', 'none'],
  ];
}

/** Returns a function that runs podman with its storage below `dir`. The test must skip with `needs('podman')`. */
export function podmanIn(dir: string): (args: readonly string[], options?: RunOptions) => Promise<RunResult> {
  const storageFlags = podmanFlags(dir);
  return (args, options) => run('podman', [...storageFlags, ...args], options);
}

import { join } from 'node:path';
import { run, type Ran, type RunOptions } from './peers.js';

/** Gives a `podman` that keeps everything it stores below `dir`. A test that uses it skips by `needs('podman')`. */
export function podmanIn(dir: string): (args: readonly string[], options?: RunOptions) => Promise<Ran> {
  const own = [
    ...['--root', join(dir, 'podman'), '--runroot', join(dir, 'podman-run')],
    ...['--tmpdir', join(dir, 'podman-tmp'), '--storage-driver', 'vfs', '--events-backend', 'none'],
  ];
  return (args, options) => run('podman', [...own, ...args], options);
}

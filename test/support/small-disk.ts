import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './peers.js';
import type { Cleanup } from './temp.js';

/** Returns why no small file system can be mounted here, or false. */
export function needsMount(): string | false {
  const probe = spawnSync('sh', [
    '-c',
    'd=$(mktemp -d); mount -t tmpfs tmpfs $d && umount $d; c=$?; rmdir $d; exit $c',
  ]);
  return probe.status === 0 ? false : 'mounting a small file system requires root';
}

/** Mounts a file system of `size` bytes until the end of the test, and returns its directory. */
export async function smallDisk(t: Cleanup, size: number): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'airlift-disk-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir]);
  t.after(async () => {
    await run('umount', [dir]);
    rmdirSync(dir);
  });
  return dir;
}

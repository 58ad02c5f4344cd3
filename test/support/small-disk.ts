import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './peers.js';
import type { Cleanup } from './temp.js';

/** Why no small disk can be had here, or false. */
export function needsMount(): string | false {
  const probe = spawnSync('sh', [
    '-c',
    'd=$(mktemp -d); mount -t tmpfs tmpfs $d && umount $d; c=$?; rmdir $d; exit $c',
  ]);
  return probe.status === 0 ? false : 'mounting a small disk wants root';
}

/** A disk of `size` bytes. */
export async function smallDisk(t: Cleanup, size: number): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'airlift-disk-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir]);
  t.after(async () => {
    await run('umount', [dir]);
    rmdirSync(dir);
  });
  return dir;
}

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { env, type Arena } from './arena.js';
import type { Dice } from './dice.js';
import { slowness } from './faults.js';
import type { Tally } from './tally.js';
import { until } from '../support/until.js';

function mount(...args: readonly string[]): string | false {
  const { status, stderr, error } = spawnSync('mount', args, { encoding: 'utf8' });
  return status === 0 ? false : `mount ${args.join(' ')}: ${error?.message ?? stderr.trim()}`;
}

/** Returns why no small file system can be mounted here, or false. */
export function cannotMount(): string | false {
  const scratch: (() => Promise<void> | void)[] = [];
  const dir = temp({ after: (work) => void scratch.push(work) });
  const reason = mount('-t', 'tmpfs', '-o', 'size=1m', 'airlift-test', dir);
  if (reason === false) spawnSync('umount', [dir]);
  for (const work of scratch) void work();
  return reason;
}

/** Exports to a file system that fills up, and resumes once there is space. */
export async function fullDiskRound(t: Cleanup, arena: Arena, dice: Dice, tally: Tally): Promise<void> {
  const { proxy, bytes } = arena;
  const dir = join(temp(t), 'small');
  mkdirSync(dir);
  const size = dice.between(1, Math.ceil((bytes.length * 1.4) / 1_048_576));
  assert.equal(mount('-t', 'tmpfs', '-o', `size=${size}m`, 'airlift-test', dir), false);
  t.after(() => void spawnSync('umount', ['-l', dir]));
  const output = join(dir, 'site.tar');
  const ballast = join(dir, 'ballast');
  const command = ['export', ...arena.references, '-o', output];
  proxy.heal();
  proxy.log.clear();
  proxy.use(slowness(dice));
  const run = startAirlift(command, { env });
  let isOver = false;
  const ended = run.ended.finally(() => (isOver = true));
  const share = dice.roll();
  const moved = (): number => proxy.log.requests.reduce((sum, { sent }) => sum + sent, 0);
  await until(
    'the chosen share of bytes is sent',
    () => isOver || moved() >= share * arena.usual.bytes,
    300_000,
  );
  // Another program uses all free space.
  if (!isOver) {
    const { bavail, bsize } = statfsSync(dir);
    try {
      writeFileSync(ballast, Buffer.alloc(bavail * bsize));
    } catch {
      tally.count('full disk: nothing left for others');
    }
  }
  const { code, stderr } = await ended;
  tally.count(`full disk: ended with ${code}`);
  if (code !== 0) {
    assert.equal(code, 1, stderr);
    assert.match(stderr, /no space|not enough (?:disk )?space|needs .* free/i);
    assert.match(stderr, /hint: /);
  }
  rmSync(ballast, { force: true });
  proxy.heal();
  proxy.log.clear();
  assert.equal(mount('-o', `remount,size=${Math.ceil((bytes.length * 3) / 1_048_576) + 8}m`, dir), false);
  if (!existsSync(output)) {
    const rerun = await startAirlift(command, { env }).ended;
    assert.equal(rerun.code, 0, rerun.stderr);
    tally.count('full disk: reruns to the end');
  }
  proxy.log.clear();
  assert.ok(readFileSync(output).equals(bytes), 'byte-identical to an undisturbed bundle');
  assert.deepEqual(readdirSync(dir), ['site.tar']);
}

import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { airlift } from '../support/airlift.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';
import { env, type Arena } from './arena.js';
import { flip } from './damage.js';
import type { Dice } from './dice.js';
import type { Tally } from './tally.js';

/** A command that writes files, and what they must be in the end. */
interface Work {
  readonly args: readonly string[];
  /** Directory of its files. */
  readonly dir: string;
  /** Fails unless the files are complete; returns the number of files in `dir`. */
  readonly check: () => number;
}

const volumeSize = '1M';

function isBundle(arena: Arena, path: string): void {
  assert.ok(readFileSync(path).equals(arena.bytes), `${path} is the bundle, byte for byte`);
}

function numbered(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => /^site\.tar\.\d{3}$/.test(name))
    .sort();
}

function areVolumes(arena: Arena, dir: string): number {
  const names = numbered(dir);
  assert.ok(Buffer.concat(names.map((name) => readFileSync(join(dir, name)))).equals(arena.bytes));
  assert.ok(existsSync(join(dir, 'site.tar.volumes')));
  return names.length + 1;
}

/** Splits the bundle into parts, each with its content. */
async function partsIn(arena: Arena, dir: string): Promise<{ args: string[]; parts: Map<string, Buffer> }> {
  const flags = ['--split-by', 'image', '--part-size', String(Math.ceil(arena.bytes.length * 0.7))];
  await airlift(['split', arena.bundle, ...flags, '-o', dir]);
  const parts = new Map(readdirSync(dir).map((name) => [name, readFileSync(join(dir, name))]));
  return { args: ['split', arena.bundle, ...flags], parts };
}

const works: Readonly<Record<string, (t: Cleanup, arena: Arena, dice: Dice) => Promise<Work>>> = {
  split: (t, arena) => {
    const dir = temp(t);
    const args = ['split', arena.bundle, '--volume-size', volumeSize, '-o', `${dir}/`];
    return Promise.resolve({ args, dir, check: () => areVolumes(arena, dir) });
  },
  'split by image': async (t, arena) => {
    const { args, parts } = await partsIn(arena, temp(t));
    const dir = temp(t);
    return {
      args: [...args, '-o', `${dir}/`],
      dir,
      check: () => {
        for (const [name, bytes] of parts) assert.ok(readFileSync(join(dir, name)).equals(bytes), name);
        return parts.size;
      },
    };
  },
  join: async (t, arena) => {
    const [from, dir] = [temp(t), temp(t)];
    await airlift(['split', arena.bundle, '--volume-size', volumeSize, '-o', `${from}/`]);
    const output = join(dir, 'site.tar');
    const check = (): number => {
      isBundle(arena, output);
      return 1;
    };
    return { args: ['join', join(from, 'site.tar.volumes'), '-o', output], dir, check };
  },
  merge: async (t, arena) => {
    const [from, dir] = [temp(t), temp(t)];
    const { parts } = await partsIn(arena, from);
    const output = join(dir, 'site.tar');
    const check = (): number => {
      isBundle(arena, output);
      return 1;
    };
    return {
      args: ['merge', ...[...parts.keys()].map((name) => join(from, name)), '-o', output],
      dir,
      check,
    };
  },
  stow: (t, arena, dice) => {
    const dir = temp(t);
    const inVolumes = dice.isLucky(0.5);
    const check = (): number => {
      if (inVolumes) return areVolumes(arena, dir);
      isBundle(arena, join(dir, 'site.tar'));
      return 1;
    };
    const flags = inVolumes ? ['--volume-size', volumeSize] : [];
    return Promise.resolve({ args: ['stow', arena.bundle, dir, ...flags], dir, check });
  },
  repair: (t, arena, dice) => {
    const dir = temp(t);
    const path = join(dir, 'site.tar');
    copyFileSync(arena.bundle, path);
    for (let left = dice.between(1, 6); left > 0; left--) flip(path, dice);
    const check = (): number => {
      isBundle(arena, path);
      return 1;
    };
    return Promise.resolve({ args: ['repair', path, '--from', arena.bundle], dir, check });
  },
};

/** Kills a command of the journey at a random point, and runs it again. */
async function killed(t: Cleanup, arena: Arena, dice: Dice, tally: Tally): Promise<void> {
  const name = dice.pick(Object.keys(works) as [string]);
  const work = await (works[name] ?? assert.fail(name))(t, arena, dice);
  for (let left = dice.between(1, 2); left > 0; left--) {
    const before = JSON.stringify(listing(work.dir));
    const run = startAirlift(work.args, { env });
    let isOver = false;
    const ended = run.ended.finally(() => (isOver = true));
    const hasBegun = (): boolean => JSON.stringify(listing(work.dir)) !== before;
    await until('the command writes', () => isOver || hasBegun(), 120_000);
    const latest = Date.now() + dice.between(0, 150);
    await until('the point to stop at', () => isOver || Date.now() >= latest, 120_000);
    run.send('SIGKILL');
    const { code, stderr } = await ended;
    tally.count(`journey: ${name} ${code === null ? 'killed' : 'ended before it was killed'}`);
    if (code !== null) assert.ok(code === 0 || /already exists|exists/.test(stderr), stderr);
  }
  const rerun = await startAirlift(work.args, { env }).ended;
  // What had ended before it was killed is not overwritten.
  if (rerun.code !== 0) assert.match(rerun.stderr, /already exists/);
  assert.equal(readdirSync(work.dir).length, work.check(), readdirSync(work.dir).join(' '));
}

function listing(dir: string): unknown {
  return readdirSync(dir).map((name) => [
    name,
    statSync(join(dir, name), { throwIfNoEntry: false })?.mtimeMs,
  ]);
}

/** Runs a command that reads a damaged file: it ends with a documented exit code, and never with a stack trace. */
async function reads(args: readonly string[], codes: readonly number[]): Promise<number> {
  const ran = await airlift(args, { codes: [0, 1, 2, 3, 4], env });
  assert.ok(!/\n\s+at /.test(ran.stderr), ran.stderr);
  assert.ok(codes.includes(ran.code), `airlift ${args.join(' ')} ended with ${ran.code}: ${ran.stderr}`);
  return ran.code;
}

const files: Readonly<Record<string, (dir: string, arena: Arena, dice: Dice) => Promise<void>>> = {
  bundle: async (dir, arena, dice) => {
    const path = join(dir, 'site.tar');
    copyFileSync(arena.bundle, path);
    damaged(path, dice);
    await reads(['verify', path], [1, 4]);
    await reads(['repair', path, '--from', arena.bundle], [0]);
    isBundle(arena, path);
  },
  volume: async (dir, arena, dice) => {
    await airlift(['split', arena.bundle, '--volume-size', volumeSize, '-o', `${dir}/`]);
    const [first = '', ...others] = numbered(dir);
    const path = join(dir, dice.pick([first, ...others]));
    damaged(path, dice);
    await reads(['verify', path], [4]);
    await reads(['verify', join(dir, 'site.tar.volumes')], [4]);
    await reads(['join', join(dir, 'site.tar.volumes'), '-o', join(dir, 'joined.tar')], [4]);
    assert.ok(!existsSync(join(dir, 'joined.tar')));
  },
  list: async (dir, arena, dice) => {
    await airlift(['split', arena.bundle, '--volume-size', volumeSize, '-o', `${dir}/`]);
    const path = join(dir, 'site.tar.volumes');
    damaged(path, dice);
    const joined = join(dir, 'joined.tar');
    // A changed blank changes nothing.
    if ((await reads(['join', path, '-o', joined], [0, 1, 4])) === 0) isBundle(arena, joined);
    else assert.ok(!existsSync(joined));
  },
  part: async (dir, arena, dice) => {
    const { parts } = await partsIn(arena, dir);
    const [first = '', ...others] = [...parts.keys()];
    const name = dice.pick([first, ...others]);
    damaged(join(dir, name), dice);
    await reads(['verify', join(dir, name)], [1, 4]);
    const paths = [...parts.keys()].map((one) => join(dir, one));
    // Damage of a layer is found while it is copied.
    await reads(['merge', ...paths, '-o', join(dir, 'merged.tar')], [1, 4]);
    assert.ok(!existsSync(join(dir, 'merged.tar')));
  },
  receipt: async (dir, arena, dice) => {
    const path = join(dir, 'site.receipt');
    await airlift(['inventory', arena.proxy.host, '-o', path]);
    damaged(path, dice);
    await reads(['diff', path, arena.bundle], [0, 1, 2]);
    const delta = join(dir, 'delta.tar');
    // A flipped digest leaves out nothing; a flipped name may, and the import proves it.
    if ((await reads(['export', ...arena.references, '--base', path, '-o', delta], [0, 1, 2])) === 0)
      await reads(['verify', delta, '--base', arena.bundle], [0, 2]);
  },
  request: async (dir, arena, dice) => {
    const { path, request } = await requested(dir, arena, dice);
    damaged(request, dice);
    const repair = join(dir, 'repair.tar');
    if ((await reads(['export', '--request', request, '-o', repair], [0, 1, 2, 3])) > 0) return;
    await reads(['repair', path, '--from', repair], [0, 4]);
    await reads(['repair', path, '--from', arena.bundle], [0]);
    isBundle(arena, path);
  },
  'repair file': async (dir, arena, dice) => {
    const { path, request } = await requested(dir, arena, dice);
    const repair = join(dir, 'repair.tar');
    await reads(['export', '--request', request, '-o', repair, '--from', arena.bundle], [0]);
    damaged(repair, dice);
    if ((await reads(['repair', path, '--from', repair], [0, 1, 4])) === 0) isBundle(arena, path);
    await reads(['repair', path, '--from', arena.bundle], [0]);
    isBundle(arena, path);
  },
};

/** Damages a copy of the bundle behind its head, and asks for what is damaged. */
async function requested(dir: string, arena: Arena, dice: Dice): Promise<{ path: string; request: string }> {
  const path = join(dir, 'site.tar');
  const copy = Buffer.from(arena.bytes);
  for (let left = dice.between(1, 4); left > 0; left--) {
    const at = dice.between(copy.length >> 1, copy.length - 2000);
    copy[at] = (copy[at] ?? 0) ^ (1 << dice.between(0, 7));
  }
  writeFileSync(path, copy);
  const request = join(dir, 'site.request');
  await reads(['verify', path, '--request', request], [4]);
  return { path, request };
}

/** Flips bits until the file differs: a bit that is flipped twice is right again. */
function damaged(path: string, dice: Dice): void {
  const before = readFileSync(path);
  do flip(path, dice);
  while (readFileSync(path).equals(before));
}

/** Kills a command of the journey, or flips bits in one of the files that travel. */
export async function journeyRound(t: Cleanup, arena: Arena, dice: Dice, tally: Tally): Promise<void> {
  if (dice.isLucky(0.5)) return killed(t, arena, dice, tally);
  const name = dice.pick(Object.keys(files) as [string]);
  const dir = join(temp(t), 'travel');
  mkdirSync(dir);
  await (files[name] ?? assert.fail(name))(dir, arena, dice);
  tally.count(`journey: flipped bits in a ${name}`);
}

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { temp } from '../../support/temp.js';
import { resumed } from './resumed.js';
import { fill, options, plan, freshBundle } from '../write-bundle.js';

const child = fileURLToPath(new URL('./write-child.js', import.meta.url));

/** Starts a run in a child process and waits until it prints `line`. */
async function startUntil(path: string, line: string, wait: number): Promise<ChildProcess> {
  const process_ = spawn(process.execPath, [child, path, String(wait)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  await new Promise<void>((done) => {
    process_.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.split('\n').includes(line)) done();
    });
    process_.once('close', () => done());
  });
  return process_;
}

async function kill(run: ChildProcess): Promise<void> {
  if (run.exitCode !== null || run.signalCode !== null) return;
  const ended = new Promise((done) => run.once('close', done));
  run.kill('SIGKILL');
  await ended;
}

/** Finishes the bundle of an earlier run, with a later clock: the bundle keeps the time of the run that planned it. */
async function resume(path: string, created = options.created): Promise<{ state: string; fetched: number }> {
  const writer = await BundleWriter.open(path, { ...options, created });
  const { state } = writer;
  if (state === 'planning') plan(writer, resumed());
  const { pendingBytes } = await writer.layOut();
  const fetched = await fill(writer, resumed());
  assert.ok(fetched >= pendingBytes);
  await writer.finish();
  return { state, fetched };
}

/** Leaves the files of a run that stopped in the middle of its third blob. */
async function leaveHalf(path: string): Promise<{ fetched: number; pending: number }> {
  const writer = await BundleWriter.open(path, options);
  plan(writer, resumed());
  const { pendingBytes } = await writer.layOut();
  let chunks = 0;
  let fetched = 0;
  await assert.rejects(
    fill(writer, resumed(), {
      onChunk: (bytes) => {
        fetched += bytes;
        if (++chunks === 35) throw new Error('stop');
      },
    }),
    /stop/,
  );
  await writer.close();
  return { fetched, pending: pendingBytes };
}

test('the next run finishes a run that was killed at any point, with the same bytes', async (t) => {
  const want = await freshBundle(t, resumed());
  const points = ['planning', 'laid-out', 'chunk 1', 'chunk 9', 'chunk 23', 'chunk 40', 'chunk 52'];
  for (const point of points) {
    const dir = temp(t);
    const path = join(dir, 'a.tar');
    await kill(await startUntil(path, point, 5));
    assert.ok(!existsSync(path), 'the output does not exist before it is complete');
    const { fetched } = await resume(path);
    assert.ok(readFileSync(path).equals(want), `killed at ${point}`);
    assert.deepEqual(readdirSync(dir), ['a.tar']);
    // 60 chunks of 64 KiB in total; one may be in flight, and checkpoints are written with a delay.
    const written = Number(/chunk (\d+)/.exec(point)?.[1] ?? 0);
    assert.ok(fetched <= (60 - written + 16) * 65536, `killed at ${point}: fetched ${fetched}`);
  }
});

test('a run that is killed many times ends with the same bytes', async (t) => {
  const want = await freshBundle(t, resumed());
  const path = join(temp(t), 'a.tar');
  for (let count = 0; count < 5; count++) await kill(await startUntil(path, 'chunk 8', 3));
  await resume(path);
  assert.ok(readFileSync(path).equals(want));
});

test('a resumed bundle keeps the time of the first run', async (t) => {
  const want = await freshBundle(t, resumed());
  const path = join(temp(t), 'a.tar');
  await leaveHalf(path);
  const { state } = await resume(path, new Date('2030-01-01T00:00:00Z'));
  assert.equal(state, 'laid-out');
  assert.ok(readFileSync(path).equals(want));
});

test('a resumed run downloads only the rest', async (t) => {
  const path = join(temp(t), 'a.tar');
  const { fetched, pending } = await leaveHalf(path);
  const rest = await resume(path);
  assert.equal(rest.fetched, pending - fetched);
});

test('while a process writes the bundle, others are rejected with its name', async (t) => {
  const path = join(temp(t), 'a.tar');
  const run = await startUntil(path, 'chunk 1', 50);
  t.after(() => kill(run));
  await assert.rejects(BundleWriter.open(path, options), (error) => {
    assert.ok(isAirliftError(error, 'busy'));
    assert.match(error.message, new RegExp(`process ${run.pid} on `));
    return true;
  });
  await kill(run);
  const { state } = await resume(path);
  assert.equal(state, 'laid-out');
});

test('resuming with other content is a conflict that names both', async (t) => {
  const path = join(temp(t), 'a.tar');
  await leaveHalf(path);
  await assert.rejects(BundleWriter.open(path, { ...options, fingerprint: 'other' }), (error) => {
    assert.ok(isAirliftError(error, 'conflict'));
    assert.match(error.message, /got other, want test/);
    assert.match(error.hint ?? '', /a\.tar\.partial and .*a\.tar\.partial\.journal/);
    return true;
  });
  const { state } = await resume(path);
  assert.equal(state, 'laid-out');
});

/** Damage to the two files while nothing runs. */
const damages: Record<string, (partial: string, journal: string) => void> = {
  'the partial file is missing': (partial) => rmSync(partial),
  'the partial file is empty': (partial) => truncateSync(partial, 0),
  'the partial file is cut in its head': (partial) => truncateSync(partial, 700),
  'the partial file is cut in the middle': (partial) => truncateSync(partial, statSync(partial).size / 2),
  'the partial file is longer': (partial) => truncateSync(partial, statSync(partial).size + 100_000),
  'the journal is missing': (_, journal) => rmSync(journal),
  'the journal is empty': (_, journal) => truncateSync(journal, 0),
  'the journal is cut': (_, journal) => truncateSync(journal, statSync(journal).size / 2),
  'the journal is no database': (_, journal) => writeFileSync(journal, 'nothing of the kind'.repeat(1000)),
  'both are missing': (partial, journal) => [partial, journal].forEach((path) => rmSync(path)),
};

for (const [name, damage] of Object.entries(damages)) {
  test(`${name}: the next run ends with the same bytes`, async (t) => {
    const want = await freshBundle(t, resumed());
    const path = join(temp(t), 'a.tar');
    await leaveHalf(path);
    damage(`${path}.partial`, `${path}.partial.journal`);
    await resume(path);
    assert.ok(readFileSync(path).equals(want));
  });
}

test('written blobs are found again without the journal', async (t) => {
  const path = join(temp(t), 'a.tar');
  const { fetched, pending } = await leaveHalf(path);
  rmSync(`${path}.partial.journal`);
  const rest = await resume(path);
  assert.equal(rest.state, 'planning');
  // A zero byte at the end of the written bytes looks like a hole.
  assert.ok(rest.fetched <= pending - fetched + 16, `fetched ${rest.fetched}`);
});

for (const which of ['partial', 'partial.journal']) {
  test(`after a flipped byte anywhere in NAME.${which} the next run ends with the same bytes`, async (t) => {
    const want = await freshBundle(t, resumed());
    const dir = temp(t);
    const path = join(dir, 'half.tar');
    await leaveHalf(path);
    const size = statSync(`${path}.${which}`).size;
    const count = 60;
    for (let at = 0; at < count; at++) {
      const flipped = join(dir, `flipped${at}.tar`);
      for (const suffix of ['partial', 'partial.journal'])
        copyFileSync(`${path}.${suffix}`, `${flipped}.${suffix}`);
      const bytes = readFileSync(`${flipped}.${which}`);
      const byte = Math.floor((size * (at + Math.random())) / count);
      bytes[byte] = (bytes[byte] ?? 0) ^ (1 << (at % 8));
      writeFileSync(`${flipped}.${which}`, bytes);
      await resume(flipped);
      assert.ok(readFileSync(flipped).equals(want), `byte ${byte} of ${which}, bit ${at % 8}`);
      rmSync(flipped);
    }
  });
}

test('a journal whose header says that it is read-only is damaged, and is started again', async (t) => {
  const want = await freshBundle(t, resumed());
  const dir = temp(t);
  const path = join(dir, 'half.tar');
  await leaveHalf(path);
  const original = readFileSync(`${path}.partial.journal`);
  // The file format write version and read version (SQLite, "Database File Format", 1.3.3).
  for (const byte of [18, 19])
    for (const version of [0, 1, 3, 255]) {
      const flipped = join(dir, `version${byte}-${version}.tar`);
      copyFileSync(`${path}.partial`, `${flipped}.partial`);
      const bytes = Buffer.from(original);
      bytes[byte] = version;
      writeFileSync(`${flipped}.partial.journal`, bytes);
      await resume(flipped);
      assert.ok(readFileSync(flipped).equals(want), `byte ${byte} is ${version}`);
    }
});

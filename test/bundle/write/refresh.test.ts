import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { temp } from '../../support/temp.js';
import { first, second } from './refreshed.js';
import { contentsOf, fill, options, plan, freshBundle } from '../write-bundle.js';

const child = fileURLToPath(new URL('./refresh-child.js', import.meta.url));

/** Leaves the files of a run over the first list with all its blobs, or with only half of one. */
async function leaveFirst(path: string, chunks = Infinity): Promise<void> {
  const writer = await BundleWriter.open(path, { ...options, fingerprint: 'first' });
  plan(writer, first);
  await writer.layOut();
  let count = 0;
  const stop = new Error('stop');
  const onChunk = (): void => {
    if (++count >= chunks) throw stop;
  };
  await fill(writer, first, { onChunk }).catch((error: unknown) => assert.equal(error, stop));
  await writer.close();
}

/** Finishes the second list in place of the first, and returns the bytes that were downloaded. */
async function endSecond(path: string, refresh: boolean): Promise<number> {
  const writer = await BundleWriter.open(path, { ...options, fingerprint: 'second', refresh });
  if (writer.state === 'planning') plan(writer, second);
  await writer.layOut();
  const fetched = await fill(writer, second);
  await writer.finish();
  return fetched;
}

/** Bytes of the layers that only the second list has. */
function onlySecond(): number {
  const firstContents = contentsOf(first);
  const layers = second
    .flatMap(({ image }) => [...image.blobs.values()])
    .filter(({ size }) => size > 100_000);
  return layers.reduce((sum, { digest, size }) => sum + (firstContents.has(digest) ? 0 : size), 0);
}

test('a new plan keeps the blobs that it shares with the old one', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'a.tar');
  await leaveFirst(path);
  await assert.rejects(endSecond(path, false), (error) => {
    assert.ok(isAirliftError(error, 'conflict'));
    assert.match(error.hint ?? '', /`refresh`/);
    return true;
  });
  const fetched = await endSecond(path, true);
  assert.ok(readFileSync(path).equals(await freshBundle(t, second)));
  // Each image has small layers too, with the program.
  assert.ok(fetched <= onlySecond() + 10_000, `fetched ${fetched}, want ${onlySecond()}`);
  assert.deepEqual(readdirSync(dir), ['a.tar']);
});

test('a new plan keeps partially written blobs too', async (t) => {
  const path = join(temp(t), 'a.tar');
  await leaveFirst(path, 40);
  const fetched = await endSecond(path, true);
  assert.ok(readFileSync(path).equals(await freshBundle(t, second)));
  const all = second
    .flatMap(({ image }) => [...image.blobs.values()])
    .reduce((sum, { size }) => sum + size, 0);
  assert.ok(fetched < all - 30 * 65536, `fetched ${fetched} of ${all}`);
});

/** Milliseconds between the plan and the end of the layout in an undisturbed run. */
async function timeOfMove(path: string): Promise<number> {
  const run = spawn(process.execPath, [child, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let planned = performance.now();
  let laidOut = planned;
  run.stdout.on('data', (chunk: Buffer) => {
    if (chunk.includes('planned')) planned = performance.now();
    if (chunk.includes('laid-out')) laidOut = performance.now();
  });
  await new Promise((done) => run.once('close', done));
  return laidOut - planned;
}

test('a run that is killed while it moves blobs loses none', async (t) => {
  const want = await freshBundle(t, second);
  const dir = temp(t);
  await leaveFirst(join(dir, 'half.tar'));
  const leftAs = (name: string): string => {
    for (const suffix of ['partial', 'partial.journal'])
      copyFileSync(join(dir, `half.tar.${suffix}`), join(dir, `${name}.${suffix}`));
    return join(dir, name);
  };
  // Rounds killed between the plan and the end of the layout, which is when blobs are moved.
  let hits = 0;
  // An undisturbed run first: the duration of the moves depends on the machine.
  const duration = await timeOfMove(leftAs('whole.tar'));
  for (let round = 0; round < 5 || (hits < 3 && round < 30); round++) {
    const path = leftAs(`a${round}.tar`);
    const run = spawn(process.execPath, [child, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((done) => run.once('close', done));
    let output = '';
    await new Promise<void>((done) =>
      run.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        done();
      }),
    );
    // The pause picks the moment of the kill. The moments differ, and the assertions hold at any of them.
    await sleep((duration * (round % 5)) / 5);
    run.kill('SIGKILL');
    await ended;
    if (!output.includes('laid-out')) hits++;
    const fetched = await endSecond(path, round % 2 === 0);
    assert.ok(readFileSync(path).equals(want), `round ${round}`);
    // A second refresh during the moves abandons the one blob that is being moved.
    const lost = round % 2 === 0 ? 1_800_000 : 10_000;
    assert.ok(fetched <= onlySecond() + lost, `round ${round}: fetched ${fetched}, want ${onlySecond()}`);
  }
  assert.ok(hits >= 3, `${hits} runs were killed while they moved blobs`);
});

import assert from 'node:assert/strict';
import { readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileCalls } from '../../src/registry-server/file-calls.js';
import { temp } from '../support/temp.js';

/** Returns a clock and a function that sets how much it advances between two looks at it. */
function clock(): { now: () => number; setStep: (step: number) => void } {
  let [time, step] = [10_000, 0];
  return { now: () => (time += step), setStep: (next) => (step = next) };
}

/** Reports whether a call ended before the event loop could turn, as one of the thread pool cannot. */
async function isDirect(call: () => Promise<unknown>): Promise<boolean> {
  let isSameTurn = true;
  process.nextTick(() => (isSameTurn = false));
  await call();
  return isSameTurn;
}

test('calls are made directly while they are quick, and in the pool after slow ones until a second has passed', async (t) => {
  const file = join(temp(t), 'file');
  await writeFile(file, 'content');
  const { now, setStep } = clock();
  const calls = new FileCalls(now);
  const look = (): Promise<unknown> => calls.sizeOf(file);
  setStep(0.001);
  assert.equal(await isDirect(look), true);
  setStep(150);
  assert.equal(await isDirect(look), true);
  setStep(0.001);
  await new Promise(setImmediate);
  assert.equal(await isDirect(look), false);
  setStep(1000);
  now();
  setStep(0.001);
  assert.equal(await isDirect(look), true);
});

test('a long loop of calls lets the event loop turn', async (t) => {
  const file = join(temp(t), 'file');
  await writeFile(file, 'content');
  const { now, setStep } = clock();
  const calls = new FileCalls(now);
  setStep(0.1);
  let direct = 0;
  while (await isDirect(() => calls.sizeOf(file))) direct++;
  assert.ok(direct >= 49 && direct <= 51, `${direct} calls of 0.1 ms`);
});

for (const kind of ['direct', 'pooled'] as const) {
  test(`${kind} calls write, read and rename files, and fail alike`, async (t) => {
    const directory = temp(t);
    const [path, other] = [join(directory, 'file'), join(directory, 'other')];
    const { now, setStep } = clock();
    const calls = new FileCalls(now);
    await writeFile(other, '');
    if (kind === 'pooled') {
      setStep(150);
      await calls.sizeOf(other);
      setStep(0);
    }
    const created = await calls.open(path, 'wx');
    assert.equal(await calls.write(created, [Buffer.from('some '), Buffer.from('content')], 12), 12);
    await calls.close(created);
    assert.equal(await readFile(path, 'utf8'), 'some content');
    await assert.rejects(calls.open(path, 'wx'), { code: 'EEXIST' });
    assert.equal(await calls.sizeOf(path), 12);
    await utimes(path, 0, 0);
    await calls.touch(path);
    assert.ok((await stat(path)).mtimeMs > 0);
    await calls.rename(path, other);
    const opened = await calls.open(other, 'r');
    assert.equal((await calls.fstat(opened)).size, 12n);
    const memory = Buffer.alloc(20);
    await truncate(other, 7);
    assert.equal(await calls.read(opened, memory, 12, 5), 2);
    assert.equal(memory.toString('utf8', 0, 2), 'co');
    await calls.close(opened);
    assert.equal(await calls.sizeOf(path), undefined);
    await assert.rejects(calls.open(path, 'r'), { code: 'ENOENT' });
    await assert.rejects(calls.touch(path), { code: 'ENOENT' });
    await assert.rejects(calls.rename(path, other), { code: 'ENOENT' });
  });
}

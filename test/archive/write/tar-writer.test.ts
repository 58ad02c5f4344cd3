import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encoderOf } from '../../../src/archive/compression/compress.js';
import { DirectoryWriter } from '../../../src/archive/write/directory-writer.js';
import { contentOf } from '../../../src/archive/write/entry-writer.js';
import { TarWriter } from '../../../src/archive/write/tar-writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { needs, run } from '../../support/peers.js';
import { temp } from '../../support/temp.js';

const plain = encoderOf('none');
const mebibyte = 1024 * 1024;

async function* chunks(count: number, chunk: Buffer): AsyncGenerator<Buffer> {
  for (let turn = 0; turn < count; turn++) yield await Promise.resolve(chunk);
}

test(
  'GNU tar unpacks what is written: names of any length, contents of any size',
  { skip: needs('tar') },
  async (t) => {
    const dir = temp(t);
    const path = join(dir, 'a.tar');
    const long = `blobs/sha512/${'a'.repeat(128)}`;
    const writer = await TarWriter.create(path, plain);
    await writer.add('empty', 0, contentOf(''));
    await writer.add('block', 512, contentOf(Buffer.alloc(512, 'b')));
    await writer.add(long, 5, contentOf('hello'));
    await writer.add('deep/er/ümläut', 3 * mebibyte, chunks(3, Buffer.alloc(mebibyte, 'c')));
    const size = await writer.finish();
    assert.equal(readFileSync(path).length, size);
    const { stdout } = await run('tar', ['-tvf', path, '--quoting-style=literal'], { env: { TZ: 'UTC' } });
    assert.match(stdout, /^-rw-r--r-- 0\/0 +0 1970-01-01 00:00 empty\n/);
    mkdirSync(join(dir, 'out'));
    await run('tar', ['-xf', path, '-C', join(dir, 'out')]);
    assert.equal(readFileSync(join(dir, 'out', long), 'utf8'), 'hello');
    assert.ok(readFileSync(join(dir, 'out', 'deep/er/ümläut')).equals(Buffer.alloc(3 * mebibyte, 'c')));
  },
);

test('nothing has the final name before the end, and discarding removes everything', async (t) => {
  const dir = temp(t);
  for (const create of [
    () => TarWriter.create(join(dir, 'a'), plain),
    () => DirectoryWriter.create(join(dir, 'a/')),
  ]) {
    const writer = await create();
    await writer.add('x', 1, contentOf('x'));
    assert.deepEqual(readdirSync(dir), ['a.partial']);
    await writer.discard();
    assert.deepEqual(readdirSync(dir), []);
  }
});

test('the partial file of an earlier run is replaced', async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'a.partial'), 'x'.repeat(100_000));
  const writer = await TarWriter.create(join(dir, 'a'), plain);
  await writer.add('x', 1, contentOf('x'));
  assert.equal(await writer.finish(), 2048);
  assert.equal(readFileSync(join(dir, 'a')).length, 2048);
});

test('content that is shorter or longer than its size, or that fails, is an error', async (t) => {
  const dir = temp(t);
  const boom = new Error('the stick was pulled');
  async function* failing(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(Buffer.alloc(700_000));
    throw boom;
  }
  for (const [size, content, message] of [
    [5, contentOf('four'), /mismatch/i],
    [3, contentOf('four'), /mismatch/i],
    [mebibyte, failing(), /the stick was pulled/],
  ] as const) {
    const writer = await TarWriter.create(join(dir, 'a'), encoderOf('gzip'));
    await assert.rejects(writer.add('x', size, content), message);
    await writer.discard();
    assert.deepEqual(readdirSync(dir), []);
  }
});

test('the error of the output is reported, not that of the entry being added', async (t) => {
  const dir = temp(t);
  const writer = await TarWriter.create(join(dir, 'a'), plain);
  rmSync(dir, { recursive: true });
  await writer.add('x', 1, contentOf('x'));
  await assert.rejects(writer.finish(), (error) => isAirliftError(error, 'io'));
});

test('memory stays flat', async (t) => {
  const block = Buffer.alloc(mebibyte, 'abc');
  const writer = await TarWriter.create(join(temp(t), 'a'), plain);
  let peak = 0;
  async function* watched(): AsyncGenerator<Buffer> {
    for await (const chunk of chunks(256, block)) {
      peak = Math.max(peak, process.memoryUsage().rss);
      yield chunk;
    }
  }
  const before = process.memoryUsage().rss;
  await writer.add('x', 256 * mebibyte, watched());
  await writer.finish();
  assert.ok(peak - before < 100 * mebibyte, `grew by ${Math.round((peak - before) / mebibyte)} MiB`);
});

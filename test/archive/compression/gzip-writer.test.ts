import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { compressLayer } from '../../../src/archive/compression/compress.js';
import { digestOf } from '../../../src/oci/digest.js';
import { compressed } from '../../support/compressed.js';
import { chunked, sample } from '../../support/software.js';

const mebibyte = 1024 * 1024;

test('members hold the content, and the result has the digests and sizes before and after', async () => {
  for (const size of [0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte + 4321]) {
    const bytes = sample(size);
    const { layer, written } = await compressed([bytes], 'gzip');
    assert.deepEqual(layer, { digest: digestOf(written), size: written.length, diffId: digestOf(bytes) });
    assert.ok(gunzipSync(written).equals(bytes), `content of ${size} bytes`);
  }
});

test('the bytes depend neither on how the content arrives nor on how many blocks are compressed at a time', async () => {
  const bytes = sample(4 * mebibyte + 77);
  const digests = new Set<string>();
  for (const [chunk, concurrency] of [
    [1000, 1],
    [65536, 2],
    [mebibyte, 8],
    [3 * mebibyte, 3],
  ] as const) {
    const { layer, written } = await compressed(chunked(bytes, chunk), 'gzip', { concurrency });
    assert.equal(layer.digest, digestOf(written));
    digests.add(layer.digest);
  }
  assert.equal(digests.size, 1);
});

test('no member states a time or an operating system, so that all machines give the same bytes', async () => {
  const { written } = await compressed([sample(2 * mebibyte + 1)], 'gzip');
  assert.deepEqual([...written.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
});

test('parts that do not compress are stored, whatever is before and after them', async () => {
  const noise = randomBytes(700_000);
  const text = Buffer.from('all work and no play '.repeat(50_000));
  const contents = [[noise], [text, noise, text], [noise, text, noise, text.subarray(0, 77)]];
  for (const parts of contents) {
    const bytes = Buffer.concat(parts);
    const { layer, written } = await compressed([bytes], 'gzip');
    assert.deepEqual(layer, { digest: digestOf(written), size: written.length, diffId: digestOf(bytes) });
    const out = execFileSync('gzip', ['-dc'], { input: written, maxBuffer: 8 * mebibyte });
    assert.equal(digestOf(out), layer.diffId);
    // The middle of the noise occurs unchanged in the output.
    assert.ok(written.includes(noise.subarray(300_000, 301_000)));
    const noisy = parts.filter((part) => part === noise).length * noise.length;
    assert.ok(written.length < noisy + 0.2 * (bytes.length - noisy) + 1000, `${written.length} bytes`);
  }
});

test('GNU gzip decompresses it', async () => {
  const bytes = sample(3 * mebibyte + 5);
  const { written } = await compressed([bytes], 'gzip', { level: 6 });
  const out = execFileSync('gzip', ['-dc'], { input: written, maxBuffer: 8 * mebibyte });
  assert.equal(digestOf(out), digestOf(bytes));
});

test('memory stays flat', async () => {
  const block = sample(mebibyte);
  let peak = 0;
  async function* source(): AsyncGenerator<Buffer> {
    for (let turn = 0; turn < 256; turn++) {
      peak = Math.max(peak, process.memoryUsage().rss);
      yield await Promise.resolve(block);
    }
  }
  const before = process.memoryUsage().rss;
  let size = 0;
  await compressLayer(Readable.from(source()), (chunk) => void (size += chunk.byteLength), 'gzip');
  assert.ok(size > 0);
  assert.ok(peak - before < 150 * mebibyte, `grew by ${Math.round((peak - before) / mebibyte)} MiB`);
});

test('a source that fails ends the members with its error', async () => {
  const boom = new Error('the stick was pulled');
  async function* source(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(sample(3 * mebibyte));
    throw boom;
  }
  await assert.rejects(compressed(source(), 'gzip'), (error) => error === boom);
});

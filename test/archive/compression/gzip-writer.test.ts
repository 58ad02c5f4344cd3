import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync, gzip } from 'node:zlib';
import { BlockRoom } from '../../../src/archive/compression/compress-blocks.js';
import { compressLayer } from '../../../src/archive/compression/compress.js';
import { digestOf } from '../../../src/oci/digest.js';
import { compressed } from '../../support/compressed.js';
import { noise } from '../../support/content.js';
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

test('the bytes are the same when the source reads straight into blocks', async () => {
  const bytes = sample(3 * mebibyte + 77);
  const room = new BlockRoom();
  async function* inPlace(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length;) {
      const count = bytes.copy(room.rest.subarray(0, 100_000), 0, at);
      yield await Promise.resolve(room.rest.subarray(0, count));
      at += count;
    }
  }
  const layer = await compressLayer(inPlace(), () => undefined, 'gzip', { room });
  assert.equal(layer.diffId, digestOf(bytes));
  assert.deepEqual(layer, (await compressed([bytes], 'gzip')).layer);
});

/** Compresses content with a new stream of zlib. */
async function zlibMember(content: Buffer, level: number): Promise<Buffer> {
  const chunkSize = content.length + 10_000;
  const member = await promisify(gzip)(content, { level, memLevel: 9, chunkSize });
  member[9] = 255;
  return member;
}

test('members have the same bytes as from a new stream of zlib', async () => {
  const sizes = [
    1000,
    32_767,
    32_768,
    65_535,
    65_536,
    98_302,
    98_303,
    131_070,
    700_000,
    mebibyte - 1,
    mebibyte,
  ];
  for (const size of sizes) {
    const random = randomBytes(size);
    const text = Buffer.from(random.toString('base64url').slice(0, size));
    const stored = await compressed([random], 'gzip');
    assert.ok(stored.written.equals(await zlibMember(random, 0)), `${size} bytes stored`);
    const deflated = await compressed([text], 'gzip');
    assert.ok(deflated.written.equals(await zlibMember(text, 1)), `${size} bytes deflated`);
  }
});

test('a header that is cut between two pieces of output states no operating system either', async () => {
  // No other test uses this level, so its encoder starts with an empty piece.
  const level = 8;
  const text = Buffer.concat([...noise(200_000, 'cut')]).toString('base64url');
  const deflate = async (size: number): Promise<readonly Buffer[]> => {
    const content = Buffer.from(text.slice(0, size));
    const chunks: Buffer[] = [];
    await compressLayer(Readable.from([content]), (chunk) => void chunks.push(chunk), 'gzip', { level });
    assert.ok(Buffer.concat(chunks).equals(await zlibMember(content, level)));
    return chunks;
  };
  // Up to 175 characters, a member is about 20 bytes longer than its content. Larger members get near the end of the piece.
  let left = 256 * 1024;
  while (left >= 10) {
    const size = left > 400 ? Math.floor(left * 0.9) : left > 175 ? 100 : left - 25;
    left -= Buffer.concat(await deflate(size)).length;
  }
  const [first] = await deflate(100);
  assert.equal(first?.length, left);
});

test('no member states a time or an operating system, so that all machines give the same bytes', async () => {
  const { written } = await compressed([sample(2 * mebibyte + 1)], 'gzip');
  assert.deepEqual([...written.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
});

test('parts that do not compress are stored, whatever is before and after them', async () => {
  const random = randomBytes(700_000);
  const text = Buffer.from('all work and no play '.repeat(50_000));
  const contents = [[random], [text, random, text], [random, text, random, text.subarray(0, 77)]];
  for (const parts of contents) {
    const bytes = Buffer.concat(parts);
    const { layer, written } = await compressed([bytes], 'gzip');
    assert.deepEqual(layer, { digest: digestOf(written), size: written.length, diffId: digestOf(bytes) });
    const out = execFileSync('gzip', ['-dc'], { input: written, maxBuffer: 8 * mebibyte });
    assert.equal(digestOf(out), layer.diffId);
    // The middle of the noise occurs unchanged in the output.
    assert.ok(written.includes(random.subarray(300_000, 301_000)));
    const noisy = parts.filter((part) => part === random).length * random.length;
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

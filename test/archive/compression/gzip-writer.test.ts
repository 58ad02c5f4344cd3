import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { compressLayer } from '../../../src/archive/compression/compress.js';
import { isAirliftError } from '../../../src/errors.js';
import { digestOf } from '../../../src/oci/digest.js';
import { chunked, sample } from '../../support/software.js';

const directory = mkdtempSync(join(tmpdir(), 'airlift-gzip-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const mebibyte = 1024 * 1024;

test('members hold the content, and the result has the digests and sizes before and after', async () => {
  for (const size of [0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte + 4321]) {
    const bytes = sample(size);
    const path = join(directory, `size-${size}.gz`);
    const result = await compressLayer(Readable.from([bytes]), path, 'gzip');
    const written = readFileSync(path);
    assert.deepEqual(result, {
      digest: digestOf(written),
      size: written.length,
      diffId: digestOf(bytes),
      uncompressedSize: size,
    });
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
    const sink = new PassThrough();
    const [result, written] = await Promise.all([
      compressLayer(chunked(bytes, chunk), sink, 'gzip', { concurrency }),
      buffer(sink),
    ]);
    assert.equal(result.digest, digestOf(written));
    digests.add(result.digest);
  }
  assert.equal(digests.size, 1);
});

test('no member states a time or an operating system, so that all machines give the same bytes', async () => {
  const path = join(directory, 'header.gz');
  await compressLayer(Readable.from([sample(2 * mebibyte + 1)]), path, 'gzip');
  const written = readFileSync(path);
  assert.deepEqual([...written.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
});

test('parts that do not compress are stored, whatever is before and after them', async () => {
  const noise = randomBytes(700_000);
  const text = Buffer.from('all work and no play '.repeat(50_000));
  const contents = [[noise], [text, noise, text], [noise, text, noise, text.subarray(0, 77)]];
  for (const [at, parts] of contents.entries()) {
    const bytes = Buffer.concat(parts);
    const path = join(directory, `mixed-${at}.gz`);
    const result = await compressLayer(Readable.from([bytes]), path, 'gzip');
    assert.equal(result.diffId, digestOf(bytes));
    const written = readFileSync(path);
    assert.equal(digestOf(written), result.digest);
    const out = execFileSync('gzip', ['-dc', path], { maxBuffer: 8 * mebibyte });
    assert.equal(digestOf(out), result.diffId);
    // The middle of the noise occurs unchanged in the output.
    assert.ok(written.includes(noise.subarray(300_000, 301_000)));
    const noisy = parts.filter((part) => part === noise).length * noise.length;
    assert.ok(written.length < noisy + 0.2 * (bytes.length - noisy) + 1000, `${written.length} bytes`);
  }
});

test('GNU gzip decompresses it', async () => {
  const bytes = sample(3 * mebibyte + 5);
  const path = join(directory, 'gnu.gz');
  await compressLayer(Readable.from([bytes]), path, 'gzip', { level: 6 });
  execFileSync('gzip', ['-t', path]);
  const out = execFileSync('gzip', ['-dc', path], { maxBuffer: 8 * mebibyte });
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
  const result = await compressLayer(Readable.from(source()), join(directory, 'flat.gz'), 'gzip', {
    level: 1,
  });
  assert.equal(result.uncompressedSize, 256 * mebibyte);
  assert.ok(peak - before < 150 * mebibyte, `grew by ${Math.round((peak - before) / mebibyte)} MiB`);
});

test('a source that fails leaves no file, and its error is reported', async () => {
  const path = join(directory, 'broken.gz');
  const boom = new Error('the stick was pulled');
  async function* source(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(sample(3 * mebibyte));
    throw boom;
  }
  await assert.rejects(compressLayer(Readable.from(source()), path, 'gzip'), (error) => error === boom);
  assert.equal(existsSync(path), false);
});

test('an abort leaves no file and is reported as interrupted', async () => {
  const path = join(directory, 'aborted.gz');
  const stop = new AbortController();
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(65536));
      if (existsSync(path) && statSync(path).size > 0) stop.abort();
    },
  });
  await assert.rejects(compressLayer(endless, path, 'gzip', { signal: stop.signal }), (error) =>
    isAirliftError(error, 'interrupted'),
  );
  assert.equal(existsSync(path), false);
  assert.equal(endless.destroyed, true);
});

test('an existing file is refused and kept', async () => {
  const path = join(directory, 'mine.gz');
  writeFileSync(path, 'mine');
  await assert.rejects(compressLayer(Readable.from([Buffer.from('x')]), path, 'gzip'), (error) =>
    isAirliftError(error, 'io'),
  );
  assert.equal(readFileSync(path, 'utf8'), 'mine');
});

import assert from 'node:assert/strict';
import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import type { CompressionOptions } from '../../../src/archive/compression/compress-blocks.js';
import { nodeEncoder, portableEncoder, zstdFrames } from '../../../src/archive/compression/zstd-writer.js';
import { testDigest } from '../../support/content.js';
import { needs, run } from '../../support/peers.js';
import { chunked, sample } from '../../support/software.js';
import { temp } from '../../support/temp.js';

const mebibyte = 1024 * 1024;

async function packed(
  bytes: Buffer,
  encoder: typeof portableEncoder,
  options: CompressionOptions = {},
  chunk = 300_000,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const frame of zstdFrames(chunked(bytes, chunk), options, encoder)) chunks.push(frame);
  return Buffer.concat(chunks);
}

/** The encoders to test: the portable one, and Node's if this version has it. */
const encoders = nodeEncoder === undefined ? [portableEncoder] : [portableEncoder, nodeEncoder];

test('zstd decompresses the frames of both encoders', { skip: needs('zstd') }, async (t) => {
  const path = join(temp(t), 'a.zst');
  for (const encoder of encoders) {
    for (const size of [0, 1, 4 * mebibyte, 4 * mebibyte + 1, 9 * mebibyte + 77]) {
      const bytes = sample(size);
      writeFileSync(path, await packed(bytes, encoder));
      await run('zstd', ['-tq', path]);
      const { bytes: back } = await run('zstd', ['-dc', path]);
      assert.equal(testDigest(back), testDigest(bytes), `${size} bytes, ${encoder.name}`);
    }
  }
});

test('no frame needs a window of more than 4 MiB, at any level', { skip: needs('zstd') }, async (t) => {
  const path = join(temp(t), 'a.zst');
  const bytes = sample(5 * mebibyte);
  for (const encoder of encoders) {
    for (const level of [1, 3, 6, 9]) {
      writeFileSync(path, await packed(bytes, encoder, { level }));
      // With this limit zstd rejects a larger window.
      const { bytes: back } = await run('zstd', ['-dc', '--memory=4MB', path]);
      assert.equal(testDigest(back), testDigest(bytes));
    }
  }
});

test('the bytes depend neither on how the content arrives nor on how much is compressed at a time', async () => {
  const bytes = sample(9 * mebibyte + 5);
  for (const encoder of encoders) {
    const digests = new Set<string>();
    for (const [chunk, concurrency] of [
      [1000, 1],
      [65536, 3],
      [5 * mebibyte, 9],
    ] as const)
      digests.add(testDigest(await packed(bytes, encoder, { concurrency }, chunk)));
    assert.equal(digests.size, 1);
  }
});

test('the portable encoder gives the same bytes everywhere', async () => {
  assert.equal(
    testDigest(await packed(sample(5 * mebibyte), portableEncoder)),
    'sha256:49b743105d85037686c4c19467be720f1ddd1f5b63f08de0e21afc9edb900405',
  );
});

test('several streams share the encoder’s threads', async () => {
  const all = await Promise.all(
    [1, 2, 3, 4, 5, 6].map((n) => packed(sample(n * mebibyte), portableEncoder, { level: 1 })),
  );
  for (const [at, bytes] of all.entries())
    assert.ok(bytes.equals(await packed(sample((at + 1) * mebibyte), portableEncoder, { level: 1 })));
});

test('memory stays flat', async (t) => {
  const block = sample(mebibyte);
  let peak = 0;
  async function* source(): AsyncGenerator<Buffer> {
    for (let turn = 0; turn < 100; turn++) {
      peak = Math.max(peak, process.memoryUsage().rss);
      yield await Promise.resolve(block);
    }
  }
  const before = process.memoryUsage().rss;
  const to = createWriteStream(join(temp(t), 'flat.zst'));
  await pipeline(zstdFrames(source(), { level: 1 }, portableEncoder), to);
  assert.ok(peak - before < 150 * mebibyte, `grew by ${Math.round((peak - before) / mebibyte)} MiB`);
});

test('a source that fails ends the frames with its error', async () => {
  const boom = new Error('the stick was pulled');
  async function* source(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(sample(5 * mebibyte));
    throw boom;
  }
  for (const encoder of encoders) {
    await assert.rejects(
      async () => {
        for await (const frame of zstdFrames(source(), {}, encoder)) assert.ok(frame.length > 0);
      },
      (error) => error === boom,
    );
  }
});

test('idle threads do not keep the process', async (t) => {
  const module = new URL('../../../src/archive/compression/zstd-writer.js', import.meta.url).href;
  const script = join(temp(t), 'once.mjs');
  writeFileSync(
    script,
    `import { portableEncoder, zstdFrames } from ${JSON.stringify(module)};
     let size = 0;
     for await (const frame of zstdFrames([Buffer.from('x')], {}, portableEncoder)) size += frame.length;
     console.log(size);`,
  );
  const { stdout } = await run(process.execPath, [script], { timeout: 60_000 });
  assert.match(stdout, /^[1-9]/);
});

import assert from 'node:assert/strict';
import { createReadStream, statSync } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { suite, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { decompress } from '../../../src/archive/compression/decompress.js';
import { isAirliftError } from '../../../src/errors.js';
import { needs, run, type Peer } from '../../support/peers.js';
import { noise, testDigest } from '../../support/content.js';
import { temp } from '../../support/temp.js';

/** Returns compressible content: noise with repetitions near (within a block) and far (`stride` bytes back). */
function repetitive(size: number, stride: number): Buffer {
  const far = Buffer.concat([...noise(Math.min(stride, size), 'far')]);
  const near = Buffer.concat([...noise(3000, 'near')]);
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += stride) far.copy(bytes, at);
  for (let at = 0; at < size; at += 50_000) near.copy(bytes, at);
  return bytes;
}

async function unpack(input: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const { content } = await decompress(input, 'x');
  const chunks: Buffer[] = [];
  for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Returns a stream of `bytes` in chunks of `size`. */
function inChunks(bytes: Uint8Array, size: number): Readable {
  function* chunks(): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  return Readable.from(chunks());
}

/** Asserts that a damaged input gives an error, or the original content if the damage hit unused bits. Returns whether it failed. */
async function assertDetectedOrHarmless(damaged: Buffer, content: Buffer, what: string): Promise<boolean> {
  try {
    const got = await unpack(inChunks(damaged, 65536));
    assert.ok(got.equals(content), `${what}: other content, and no error`);
    return false;
  } catch (error) {
    assert.ok(isAirliftError(error, 'damaged', 'unsupported'), `${what}: ${String(error)}`);
    return true;
  }
}

suite('decompress', { timeout: 180_000 }, () => {
  const small = repetitive(300_000, 90_000);

  const variants: [name: string, size: number, stride: number, args: string[]][] = [
    ['-3', 5_000_000, 400_000, ['-3']],
    ['-16 --long=25, a window of 32 MiB', 40_000_000, 30_000_000, ['-16', '--long=25', '--zstd=strat=3']],
    ['-19', 1_500_000, 400_000, ['-19']],
    ['--long=27, a window of 128 MiB', 140_000_000, 120_000_000, ['-1', '--long=27']],
    ['-T0', 30_000_000, 9_000_000, ['-T0', '-B1048576']],
    ['--no-check', 2_000_000, 700_000, ['--no-check']],
    ['--no-content-size', 2_000_000, 700_000, ['--no-content-size']],
    ['nothing inside', 0, 1, []],
    ['one byte', 1, 1, []],
  ];
  for (const [name, size, stride, args] of variants) {
    test(`zstd ${name}`, { skip: needs('zstd') }, async (t) => {
      const dir = temp(t);
      const plain = join(dir, 'plain');
      const content = repetitive(size, stride);
      await writeFile(plain, content);
      await run('zstd', ['-q', ...args, plain, '-o', `${plain}.zst`]);
      const got = await unpack(createReadStream(`${plain}.zst`));
      assert.equal(testDigest(got), testDigest(content));
    });
  }

  async function zstd(content: Uint8Array, ...args: string[]): Promise<Buffer> {
    return (await run('zstd', ['-q', '-c', ...args], { input: content })).bytes;
  }
  const skippable = Buffer.concat([Buffer.from('5a2a4d1805000000', 'hex'), Buffer.from('hello')]);
  const emptySkippable = Buffer.from('502a4d1800000000', 'hex');

  test(
    'zstd of many frames, skippable and empty ones between, however they arrive',
    { skip: needs('zstd') },
    async () => {
      const parts = [small.subarray(0, 200_000), Buffer.alloc(0), small.subarray(200_000)];
      const frames = await Promise.all(parts.map((part) => zstd(part)));
      const between = [
        skippable,
        emptySkippable,
        skippable,
        frames[1] as Buffer,
        frames[1] as Buffer,
        emptySkippable,
      ];
      const whole = Buffer.concat([
        skippable,
        frames[0] as Buffer,
        ...between,
        frames[2] as Buffer,
        skippable,
      ]);
      for (const size of [1_000_000, 65_536, 4099, 17])
        assert.ok((await unpack(inChunks(whole, size))).equals(small), `chunks of ${size}`);
      assert.equal((await unpack(inChunks(Buffer.concat([skippable, emptySkippable]), 3))).length, 0);
    },
  );

  test(
    'zstd truncated at every 1 % is reported, with and without a content checksum',
    { skip: needs('zstd') },
    async () => {
      for (const flag of ['--check', '--no-check']) {
        const bytes = await zstd(small, flag);
        for (let percent = 1; percent < 100; percent++) {
          const cut = bytes.subarray(0, Math.max(5, Math.floor((bytes.length * percent) / 100)));
          await assert.rejects(unpack(inChunks(cut, 65536)), (error) => {
            assert.ok(isAirliftError(error, 'damaged'));
            assert.match(error.message, /^decompress x: truncated after \d+ bytes of zstd$/);
            return true;
          });
        }
        await assert.rejects(unpack(inChunks(bytes.subarray(0, -1), 65536)), { code: 'damaged' });
      }
    },
  );

  test('zstd with flipped bits is reported, never other content', { skip: needs('zstd') }, async () => {
    const bytes = await zstd(small, '--check');
    let reported = 0;
    const places = Array.from({ length: 80 }, (_, n) =>
      n < 20 ? n : Math.floor((bytes.length * (n - 19)) / 62),
    );
    for (const place of places) {
      const damaged = Buffer.from(bytes);
      damaged[place] = (damaged[place] as number) ^ (1 << (place % 8));
      if (tarLooksPlain(damaged)) continue;
      if (await assertDetectedOrHarmless(damaged, small, `bit ${place % 8} of byte ${place}`)) reported++;
    }
    assert.ok(reported >= 70, `only ${reported} reported`);
  });

  /** Reports whether the damage hit the magic number: then the file is not recognised as zstd, and passes unchanged. */
  const tarLooksPlain = (bytes: Buffer): boolean => bytes.readUInt32LE(0) !== 0xfd2fb528;

  test('zstd that needs too large a window or a dictionary is refused with a hint', async () => {
    const window = Buffer.from('28b52ffd00a0010000', 'hex');
    await assert.rejects(unpack(inChunks(window, 100)), (error) => {
      assert.ok(isAirliftError(error, 'unsupported'));
      assert.equal(error.message, 'decompress x: needs a window of 1073741824 bytes; want at most 134217728');
      assert.match(error.hint ?? '', /^unpack it first: zstd -dc --long=31/);
      return true;
    });
    await assert.rejects(unpack(inChunks(Buffer.from('28b52ffd010007010000', 'hex'), 100)), {
      message: 'decompress x: compressed with dictionary 7, which is not available',
    });
  });

  test('gzip of one member and of many, in chunks of any size', async () => {
    const members = [
      small.subarray(0, 5),
      small.subarray(5, 5),
      small.subarray(5, 200_000),
      small.subarray(200_000),
    ];
    const whole = Buffer.concat([...members.map((member) => gzipSync(member)), Buffer.alloc(700)]);
    for (const size of [1_000_000, 65_536, 4099, 17])
      assert.ok((await unpack(inChunks(whole, size))).equals(small), `chunks of ${size}`);
    const two = Buffer.concat([gzipSync('hello '), gzipSync('world')]);
    for (let at = 1; at < two.length; at++)
      assert.equal(
        String(await unpack(Readable.from([two.subarray(0, at), two.subarray(at)]))),
        'hello world',
      );
  });

  test('gzip truncated at every 1 % is reported', async () => {
    const bytes = Buffer.concat([gzipSync(small.subarray(0, 150_000)), gzipSync(small.subarray(150_000))]);
    const boundary = gzipSync(small.subarray(0, 150_000)).length;
    for (let percent = 1; percent < 100; percent++) {
      const length = Math.floor((bytes.length * percent) / 100);
      if (length === boundary) continue;
      await assert.rejects(unpack(inChunks(bytes.subarray(0, length), 65536)), (error) => {
        assert.ok(isAirliftError(error, 'damaged'));
        assert.equal(error.message, `decompress x: truncated after ${length} bytes of gzip`);
        return true;
      });
    }
  });

  test('gzip with flipped bits, or with content after it, is reported', async () => {
    const bytes = gzipSync(small);
    for (let n = 0; n < 60; n++) {
      const place = n < 20 ? n + 2 : Math.floor((bytes.length * (n - 19)) / 42);
      const damaged = Buffer.from(bytes);
      damaged[place] = (damaged[place] as number) ^ (1 << (n % 8));
      await assertDetectedOrHarmless(damaged, small, `bit ${n % 8} of byte ${place}`);
    }
    for (const behind of ['x', '\0\0\0x', '\x1f\x8b\x08']) {
      for (const size of [1_000_000, 100]) {
        const input = inChunks(Buffer.concat([bytes, Buffer.from(behind, 'latin1')]), size);
        await assert.rejects(unpack(input), { code: 'damaged' });
      }
    }
  });

  test('uncompressed content passes unchanged, also empty content', async () => {
    assert.ok((await unpack(inChunks(small, 1000))).equals(small));
    assert.equal((await unpack(Readable.from([]))).length, 0);
    assert.equal(String(await unpack(Readable.from([Buffer.from('abc')]))), 'abc');
  });

  const refused: [peer: Peer, args: string[], name: string, command: string][] = [
    ['bzip2', ['-c'], 'bzip2', 'bzip2 -dc'],
    ['xz', ['-c'], 'xz', 'xz -dc'],
    ['xz', ['--format=lzma', '-c'], 'lzma', 'xz --format=lzma -dc'],
    ['lz4', ['-c'], 'lz4', 'lz4 -dc'],
  ];
  for (const [peer, args, name, command] of refused) {
    test(`${name} is refused by name, with the command that unpacks it`, { skip: needs(peer) }, async () => {
      const { bytes } = await run(peer, args, { input: small });
      await assert.rejects(unpack(Readable.from([bytes])), (error) => {
        assert.ok(isAirliftError(error, 'unsupported'));
        assert.equal(
          error.message,
          `read x: unsupported format; got ${name}, want a tar archive, plain or compressed with gzip or zstd`,
        );
        assert.ok(error.hint?.includes(`${command} FILE`), error.hint);
        return true;
      });
      const [program, ...rest] = command.split(' ');
      assert.ok(
        (await run(program as Peer, rest, { input: bytes })).bytes.equals(small),
        'the command works',
      );
    });
  }

  test('a reader that stops early closes the file and the worker', { skip: needs('zstd') }, async (t) => {
    const path = join(temp(t), 'x');
    for (const packed of [
      await zstd(repetitive(9_000_000, 500_000)),
      gzipSync(repetitive(9_000_000, 500_000)),
      small,
    ]) {
      await writeFile(path, packed);
      for (const readFirst of [true, false]) {
        const input = createReadStream(path);
        const closed = new Promise<void>((resolve) => input.once('close', () => resolve()));
        const { content } = await decompress(input, 'x');
        if (readFirst) await content[Symbol.asyncIterator]().next();
        content.destroy();
        await closed;
      }
    }
  });

  test('a source that fails is reported as it failed', { skip: needs('zstd') }, async () => {
    for (const packed of [await zstd(small), gzipSync(small)]) {
      async function* failing(): AsyncGenerator<Uint8Array> {
        yield packed.subarray(0, 10_000);
        await Promise.resolve();
        throw new Error('the disk is gone');
      }
      await assert.rejects(unpack(failing()), /the disk is gone/);
    }
  });

  test(
    'a decompression bomb uses bounded memory until the caller stops it',
    { skip: needs('zstd') },
    async (t) => {
      const path = join(temp(t), 'zeros.zst');
      const gigabyte = 1_073_741_824;
      const file = await open(path, 'w');
      const { bytes } = await run('sh', ['-c', `head -c ${gigabyte} /dev/zero | zstd -q -3 -c`]);
      await file.writeFile(bytes);
      await file.close();
      assert.ok(statSync(path).size < 200_000);
      const { content } = await decompress(createReadStream(path), 'x');
      const before = process.memoryUsage().rss;
      let size = 0;
      let peak = 0;
      await pipeline(content, async (chunks) => {
        for await (const chunk of chunks as AsyncIterable<Buffer>) {
          size += chunk.byteLength;
          peak = Math.max(peak, process.memoryUsage.rss() - before);
        }
      });
      assert.equal(size, gigabyte);
      assert.ok(peak < 150_000_000, `${peak} bytes more memory`);
      assert.ok((await readFile(path)).length > 0);
    },
  );
});

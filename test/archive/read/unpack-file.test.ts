import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { suite, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { findMember } from '../../../src/archive/read/members.js';
import { openMembers } from '../../../src/archive/read/open-members.js';
import { AirliftError, isAirliftError } from '../../../src/errors.js';
import { streamChunk } from '../../../src/io/byte-range.js';
import { noise } from '../../support/content.js';
import { needs, run } from '../../support/peers.js';
import { tarOf } from '../../support/tar.js';
import { temp, type Cleanup } from '../../support/temp.js';
import { until } from '../../support/until.js';

const big = Buffer.concat([...noise(3_000_000, 'unpacked'), Buffer.alloc(2_000_000, 'text ')]);
const archive = tarOf([{ name: 'big', content: big }]);

async function zstd(input: Uint8Array, ...args: string[]): Promise<Buffer> {
  return (await run('zstd', ['-q', '-c', ...args], { input })).bytes;
}

async function written(t: Cleanup, bytes: Uint8Array): Promise<string> {
  const path = join(temp(t), 'x.tar');
  await writeFile(path, bytes);
  return path;
}

/** Returns the open files of this process that were removed from a directory. */
async function removedFiles(dir: string): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd');
  const names = await Promise.all(
    descriptors.map((name) => readlink(join('/proc/self/fd', name)).catch(() => '')),
  );
  return names.filter((name) => name.startsWith(dir) && name.endsWith(' (deleted)'));
}

async function failureOf(opening: Promise<unknown>, file: string): Promise<string> {
  try {
    await opening;
  } catch (error) {
    assert.ok(error instanceof AirliftError, String(error));
    return [error.code, error.message.replaceAll(file, 'x'), error.hint].join('\n');
  }
  assert.fail('it was opened');
}

suite('compressed files', { skip: needs('zstd'), timeout: 120_000 }, () => {
  /** Archives in several members and frames; `--long=25` is how k3s packs its archives. */
  const packed: readonly (readonly [string, () => Promise<Buffer>])[] = [
    ['one gzip member', () => Promise.resolve(gzipSync(archive))],
    [
      'gzip members and the zeros of a tape',
      () =>
        Promise.resolve(
          Buffer.concat([
            gzipSync(archive.subarray(0, 700_001)),
            gzipSync(archive.subarray(700_001), { level: 0 }),
            Buffer.alloc(300_000),
          ]),
        ),
    ],
    ['a zstd frame', () => zstd(archive)],
    ['zstd with a window of 32 MiB', () => zstd(archive, '--long=25', '--check')],
    [
      'zstd frames and a skippable one',
      async () =>
        Buffer.concat([
          await zstd(archive.subarray(0, 1_234_567)),
          Buffer.from('502a4d180300000061626300', 'hex').subarray(0, 11),
          await zstd(archive.subarray(1_234_567), '-19'),
        ]),
    ],
  ];

  for (const [name, pack] of packed) {
    test(`${name}: the content is that of the archive`, async (t) => {
      const tmpDir = temp(t);
      const { members } = await openMembers(await written(t, await pack()), { tmpDir });
      const content = await findMember(members, 'big', 'the test');
      assert.ok((await buffer(content.stream())).equals(big));
      await members.close();
      assert.deepEqual(await removedFiles(tmpDir), []);
    });
  }

  test('damage is reported as it is for a stream, and no file stays open', async (t) => {
    const tmpDir = temp(t);
    const gzip = gzipSync(archive);
    const zst = await zstd(archive, '--check');
    const flipped = (bytes: Buffer, at: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
      return copy;
    };
    const damaged = [
      gzip.subarray(0, 2_000_000),
      flipped(gzip, gzip.byteLength - 6),
      Buffer.concat([gzip, Buffer.from('rest')]),
      zst.subarray(0, 2_000_000),
      flipped(zst, zst.byteLength - 2),
      Buffer.concat([zst, Buffer.from('rest of it')]),
      // A window of 256 MiB.
      Buffer.concat([Buffer.from('28b52ffd0090', 'hex'), zst.subarray(6)]),
    ];
    for (const bytes of damaged) {
      const path = await written(t, bytes);
      const expected = await failureOf(
        openMembers('-', { tmpDir, stdin: createReadStream(path, { highWaterMark: streamChunk }) }),
        'standard input',
      );
      assert.equal(await failureOf(openMembers(path, { tmpDir }), path), expected);
      assert.match(expected, /^(?:damaged|unsupported)\ndecompress x: /);
    }
    assert.deepEqual(await removedFiles(tmpDir), []);
    assert.deepEqual(await readdir(tmpDir), []);
  });

  for (const name of ['gzip', 'zstd']) {
    test(`an interruption ends the unpacking of ${name}, and closes the files`, async (t) => {
      const tmpDir = temp(t);
      const part = Buffer.alloc(32_000_000, 'a');
      const packedPart = name === 'gzip' ? gzipSync(part, { level: 1 }) : await zstd(part);
      // Takes about a second to unpack, and is no tar archive: only the interruption ends it before that is found out.
      const path = await written(t, Buffer.concat(new Array<Buffer>(33).fill(packedPart)));
      const controller = new AbortController();
      const opening = openMembers(path, { tmpDir, signal: controller.signal });
      const failed = assert.rejects(opening, (error) => isAirliftError(error, 'interrupted'));
      await until('the temporary file is open', async () => (await removedFiles(tmpDir)).length > 0);
      controller.abort();
      await failed;
      assert.deepEqual(await removedFiles(tmpDir), []);
    });
  }
});

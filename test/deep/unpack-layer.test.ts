import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { createGzip, gzipSync } from 'node:zlib';
import { unpackLayer } from '../../src/deep/unpack-layer.js';
import { isAirliftError } from '../../src/errors.js';
import { tarHeader, tarOf } from '../support/tar.js';

const algorithms = ['sha256'] as const;
const limits = { bytes: 10_000, ratio: 20, entries: 3 };

test('stops a layer that unpacks to far more than its size', async () => {
  const bomb = gzipSync(tarOf([{ name: 'zeros', content: Buffer.alloc(10_000_000) }]));
  const found = await unpackLayer(Readable.from([bomb]), bomb.length, { algorithms, limits });
  assert.match(found.problems.join(), /stopped after \d+ bytes, .*its diff_id is not verified/);
  assert.equal(found.digests.size, 0);
  // Small layers may have any ratio, and large ones a real one.
  const small = gzipSync(tarOf([{ name: 'zeros', content: Buffer.alloc(5000) }]));
  const fine = await unpackLayer(Readable.from([small]), small.length, { algorithms, limits });
  assert.deepEqual([fine.problems, fine.warnings, fine.digests.size], [[], [], 1]);
});

test('stops counting entries at the limit, and still hashes the rest', async () => {
  const tar = tarOf(['a', 'b', 'c', 'd'].map((name) => ({ name })));
  const found = await unpackLayer(Readable.from([tar]), tar.length, { algorithms, limits });
  assert.deepEqual(found.warnings, ['not checked: read layer: more than 3 entries']);
  assert.equal(found.digests.size, 1);
});

test('reports paths that Linux does not take', async () => {
  const long = (name: string): Buffer => {
    const record = Buffer.from(`${name.length + 11 + String(name.length).length - 3} path=${name}\n`);
    const length = record.length;
    const exact = Buffer.from(`${length} path=${name}\n`);
    const header = tarHeader({ name: 'pax' }, exact.length);
    header.write('x', 156, 'latin1');
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const padding = Buffer.alloc((512 - (exact.length % 512)) % 512);
    return Buffer.concat([header, exact, padding, tarOf([{ name: 'short' }])]);
  };
  for (const [name, problem] of [
    ['x'.repeat(300), /name of 300 bytes; want at most 255/],
    ['x/'.repeat(2100), /path of 4199 bytes; want at most 4095/],
    ['x/'.repeat(2000), undefined],
  ] as const) {
    const tar = long(name);
    const { problems } = await unpackLayer(Readable.from([tar]), tar.length, { algorithms });
    if (problem === undefined) assert.deepEqual(problems, []);
    else assert.match(problems.join(), problem);
  }
});

test('memory stays flat while a large layer is unpacked', async () => {
  const size = 600_000_000;
  function* chunks(): Generator<Buffer> {
    yield tarHeader({ name: 'large' }, size);
    const chunk = Buffer.alloc(1_000_000, 'text ');
    for (let at = 0; at < size; at += chunk.length) yield chunk;
    yield Buffer.alloc(1024 + ((512 - (size % 512)) % 512));
  }
  const packed = Readable.from(chunks()).pipe(createGzip({ level: 1 }));
  const before = process.memoryUsage().rss;
  let most = before;
  const onBytes = (): void => void (most = Math.max(most, process.memoryUsage().rss));
  const found = await unpackLayer(packed, 10_000_000, { algorithms, onBytes });
  assert.deepEqual([found.problems, found.entries, found.bytes > size], [[], 1, true]);
  assert.ok(most - before < 150_000_000, `memory grew by ${most - before} bytes`);
});

test('an abort ends it', async () => {
  const controller = new AbortController();
  const tar = tarOf([{ name: 'a', content: Buffer.alloc(100_000) }]);
  const onBytes = (): void => controller.abort();
  await assert.rejects(
    unpackLayer(Readable.from([tar, tar]), tar.length, { algorithms, onBytes, signal: controller.signal }),
    (error) => isAirliftError(error, 'interrupted'),
  );
});

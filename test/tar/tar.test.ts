import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { extract } from 'tar-stream';
import { EntryReader } from '../../src/bundle/format/entry-reader.js';
import { BundleFile } from '../../src/bundle/format/file.js';
import { blobPath } from '../../src/oci/image-layout.js';
import {
  decodeHeader,
  decodePax,
  encodeHeader,
  encodePaxRecord,
  endLength,
  headerLength,
  paddedLength,
} from '../../src/tar/header.js';
import { digestOf } from '../../src/oci/digest.js';
import { testDigest } from '../support/content.js';
import { needs, run } from '../support/peers.js';
import { tarHeader } from '../support/tar.js';
import { temp } from '../support/temp.js';

const GiB = 1024 ** 3;
const mtime = 1_714_979_289;

/** Names of every form: short, split into prefix and name, too long for both, and a blob's that is named by sha512. */
const names = [
  'oci-layout',
  `${'d'.repeat(60)}/${'n'.repeat(100)}`,
  `${'a'.repeat(80)}/${'b'.repeat(80)}/${'c'.repeat(80)}/file`,
  `${'x'.repeat(120)}/${'y'.repeat(120)}/${'z'.repeat(120)}`,
  blobPath(testDigest('x', 'sha512')),
  'ends/with/' + 'l'.repeat(150),
  'größe/图片',
];

function archiveOf(entries: readonly { name: string; content: Buffer }[]): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of entries) {
    parts.push(encodeHeader(name, content.length, mtime), content);
    parts.push(Buffer.alloc(paddedLength(content.length) - content.length));
  }
  return Buffer.concat([...parts, Buffer.alloc(endLength)]);
}

const samples = names.map((name, at) => ({ name, content: Buffer.from('content '.repeat(at * 100)) }));

test('names of every length are read back by GNU tar', { skip: needs('tar') }, async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'a.tar'), archiveOf(samples));
  const { stdout, stderr } = await run('tar', ['tvf', join(dir, 'a.tar'), '--numeric-owner', '--utc']);
  assert.equal(stderr, '');
  const lines = stdout.trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => line.replace(/\s+/g, ' ')),
    samples.map(({ name, content }) => `-rw-r--r-- 0/0 ${content.length} 2024-05-06 07:08 ${name}`),
  );
  await run('tar', ['xf', join(dir, 'a.tar'), '-C', dir]);
  for (const { name, content } of samples) assert.deepEqual(readFileSync(join(dir, name)), content);
});

test('names of every length are read back by tar-stream', async () => {
  const found: object[] = [];
  const reader = extract();
  reader.on('entry', (header, stream, next) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => chunks.push(chunk as Buffer));
    stream.on('end', () => {
      const { name, mode, uid, gid, type } = header;
      found.push({
        name,
        mode,
        uid,
        gid,
        type,
        mtime: header.mtime?.getTime(),
        content: Buffer.concat(chunks),
      });
      next();
    });
  });
  const ended = new Promise<void>((done, fail) => reader.on('finish', () => done()).on('error', fail));
  Readable.from([archiveOf(samples)]).pipe(reader);
  await ended;
  const same = { mode: 0o644, uid: 0, gid: 0, type: 'file', mtime: mtime * 1000 };
  assert.deepEqual(
    found,
    samples.map(({ name, content }) => ({ name, ...same, content })),
  );
});

test(
  'a content of more than 8 GiB is read back by GNU tar, and by airlift',
  { skip: needs('tar') },
  async (t) => {
    const path = join(temp(t), 'big.tar');
    const sizes = [8 * GiB - 1, 8 * GiB, 9 * GiB + 5];
    const file = openSync(path, 'w');
    let position = 0;
    for (const [at, size] of sizes.entries()) {
      const header = encodeHeader(`big${at}`, size, mtime);
      writeSync(file, header, 0, header.length, position);
      position += header.length + paddedLength(size);
    }
    closeSync(file);
    truncateSync(path, position + endLength);
    const { stdout } = await run('tar', ['tvf', path]);
    assert.deepEqual(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => Number(line.trim().split(/\s+/)[2])),
      sizes,
    );
    const bundle = await BundleFile.open(path, 'r');
    t.after(() => bundle.close());
    const reader = new EntryReader(bundle);
    let next = 0;
    for (const [at, size] of sizes.entries()) {
      const entry = await reader.readEntry(next);
      assert.ok(typeof entry === 'object');
      assert.deepEqual([entry.name, entry.size], [`big${at}`, size]);
      next = entry.end;
    }
    assert.equal(await reader.readEntry(next), 'end');
  },
);

test('the header of an ordinary file is the one that the tests write themselves', () => {
  const own = tarHeader({ name: 'blobs/sha256/aa' }, 12345);
  own.fill(0, 265, 329);
  own.write(mtime.toString(8).padStart(11, '0'), 136, 'latin1');
  own.write('        ', 148, 'latin1');
  const sum = own.reduce((total, byte) => total + byte, 0);
  own.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  assert.deepEqual(encodeHeader('blobs/sha256/aa', 12345, mtime), own);
});

test('an encoded header has the stated length', () => {
  for (const name of names) assert.equal(encodeHeader(name, 1, mtime).length, headerLength(name));
});

test('the bytes of headers never change', () => {
  const digests = {
    a39560028d112f79b7e4754c1b1853d4b31d916e765014a4bf90aa65ff7d99df: encodeHeader(
      `blobs/sha256/${'a'.repeat(64)}`,
      12345,
      mtime,
    ),
    '8f1a61566955c455ff9297e579832d1448561fc3b29efefc426f50e98e4a460f': encodeHeader(
      `${'d'.repeat(60)}/${'n'.repeat(100)}`,
      1,
      mtime,
    ),
    '9faf7146379322cb571894dd6542e3de974035642a1f1b03fbbe2415ee91605d': encodeHeader(
      `blobs/sha512/${'0'.repeat(128)}`,
      7,
      0,
    ),
    '59e31ea9b14cb496f1cb30fc834e1642253ea79c8f05b09744e619eb164136d0': encodeHeader(
      'big',
      9 * GiB + 5,
      mtime,
    ),
    '85ddb46ab32dc7b40c3f1df1db8f7e18fd4edbac5d04fee1615c7d0ac42a7f2d': encodeHeader('y'.repeat(989), 1, 0),
    fb1fcd5fb94e62c89df69a5319e899eb79eef747d6372ed6b3e03542c09c2e69: encodeHeader('y'.repeat(990), 1, 0),
  };
  for (const [want, header] of Object.entries(digests)) assert.equal(digestOf(header), `sha256:${want}`);
});

test('a pax record counts its own digits, also at 9→11 and 99→101 bytes', () => {
  for (let length = 0; length < 1100; length++) {
    const value = 'é'.repeat(length % 7) + 'v'.repeat(length);
    const record = encodePaxRecord('k', value);
    assert.equal(Number.parseInt(record.toString(), 10), record.length);
    assert.deepEqual([...(decodePax(record) ?? [])], [['k', value]]);
  }
  assert.deepEqual(
    [4, 5, 93, 94].map((length) => encodePaxRecord('k', 'v'.repeat(length)).toString().split(' ')[0]),
    ['9', '11', '99', '101'],
  );
});

test('a block with any byte changed is no header', () => {
  const good = encodeHeader('blobs/sha256/aa', 100, mtime);
  assert.deepEqual(decodeHeader(good), {
    kind: 'file',
    flag: '0',
    hasMagic: true,
    name: 'blobs/sha256/aa',
    linkName: '',
    size: 100,
    mode: 0o644,
    isExtended: false,
  });
  for (let at = 0; at < good.length; at++) {
    // The sum itself may be written in more than one way.
    if (at >= 148 && at < 156) continue;
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 0x10;
    assert.equal(decodeHeader(bad), undefined, `byte ${at}`);
  }
});

test('archives of GNU tar are read in all its formats', { skip: needs('tar') }, async (t) => {
  const dir = temp(t);
  const name = `${'p'.repeat(90)}/${'q'.repeat(90)}`;
  await run('mkdir', ['-p', join(dir, 'p'.repeat(90))]);
  writeFileSync(join(dir, name), 'some content');
  for (const format of ['gnu', 'pax', 'ustar', 'oldgnu']) {
    const path = join(dir, `${format}.tar`);
    await run('tar', ['cf', path, '-C', dir, `--format=${format}`, name]);
    const file = await BundleFile.open(path, 'r');
    const entry = await new EntryReader(file).readEntry(0);
    assert.ok(typeof entry === 'object', format);
    assert.deepEqual([entry.name, entry.size], [name, 12], format);
    assert.equal((await file.read(entry.contentPosition, entry.size)).toString(), 'some content');
    await file.close();
  }
});

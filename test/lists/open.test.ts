import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readListFiles, standardInput } from '../../src/lists/open.js';
import { parseImageLists } from '../../src/lists/read.js';

const nothing = (): Readable => Readable.from([]);

test('files and standard input are read in their order, in UTF-8 and in UTF-16', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'airlift-lists-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const plain = join(folder, 'plain.txt');
  const windows = join(folder, 'windows.txt');
  writeFileSync(plain, '\uFEFF# größe\nredis:1\n');
  writeFileSync(windows, Buffer.from('\uFEFFredis:2\r\nredis:1\r\n', 'utf16le'));
  const stdin = Readable.from([Buffer.from('red'), Buffer.from('is:3\n')]);
  const list = parseImageLists(await readListFiles([plain, '-', windows], stdin));
  assert.deepEqual(
    list.references.map(({ file, line, text }) => [file, line, text]),
    [
      [plain, 2, 'redis:1'],
      [standardInput, 1, 'redis:3'],
      [windows, 1, 'redis:2'],
    ],
  );
});

test('a file that is not text is refused with its format', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'airlift-lists-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'images.tar.gz');
  writeFileSync(file, gzipSync(Buffer.from('hello hello')));
  await assert.rejects(readListFiles([file], nothing()), { code: 'usage', message: /: not text/ });
  writeFileSync(file, 'a\0b');
  await assert.rejects(readListFiles([file], nothing()), { code: 'usage', message: /: not text/ });
  await assert.rejects(readListFiles([folder], nothing()), { code: 'io', message: /: is a directory$/ });
  await assert.rejects(readListFiles([join(folder, 'none')], nothing()), {
    code: 'io',
    message: /: no such file$/,
  });
  await assert.rejects(readListFiles(['-', '-'], nothing()), { code: 'usage' });
});

test('an endless list is refused, not read to its end', async () => {
  let given = 0;
  const endless = Readable.from(
    (function* () {
      for (;;) {
        given++;
        yield Buffer.alloc(1 << 20, 'a\n');
      }
    })(),
  );
  await assert.rejects(readListFiles(['-'], endless), {
    code: 'usage',
    message: /too large for an image list/,
  });
  assert.ok(given < 40, `${given} MiB were read`);
});

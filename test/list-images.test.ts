import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { listImages } from '../src/list-images.js';
import { formatReference } from '../src/oci/reference.js';
import { failsWith } from './support/errors.js';
import { temp } from './support/temp.js';

const stdin = (text: string): Readable => Readable.from([Buffer.from(text)]);

test('references, files and standard input are joined, each image once', async (t) => {
  const dir = temp(t);
  const list = join(dir, 'list.txt');
  const rendered =
    'apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: redis}, {name: b, image: a/b:1}]}\n';
  writeFileSync(list, 'nginx:1\nredis\n');
  const found = await listImages({
    references: ['redis', 'c/d:1'],
    lists: [list, '-'],
    stdin: stdin(rendered),
  });
  assert.deepEqual(
    found.references.map(({ reference, file, line }) => `${file}:${line} ${formatReference(reference)}`),
    [
      'command line:1 docker.io/library/redis:latest',
      'command line:2 docker.io/c/d:1',
      `${list}:1 docker.io/library/nginx:1`,
      'standard input:3 docker.io/a/b:1',
    ],
  );
  assert.deepEqual(found.lists, [
    { file: list, formats: ['text'] },
    { file: 'standard input', formats: ['kubernetes'] },
  ]);
});

test('the mistakes of all of them are reported together', async (t) => {
  const list = join(temp(t), 'list.txt');
  writeFileSync(list, 'fine\n\nNot:Fine\n');
  const listing = listImages({
    references: ['BAD'],
    lists: [list, '-'],
    stdin: stdin('services: {a: {image: "${X}"}}'),
  });
  await assert.rejects(listing, (error: Error) => {
    const [first, ...problems] = error.message.split('\n');
    assert.equal(first, 'read images: 3 problems');
    assert.match(problems[0] ?? '', /^ {2}command line: parse reference "BAD"/);
    assert.ok(problems[1]?.startsWith(`  ${list}:3: `));
    assert.match(problems[2] ?? '', /^ {2}standard input:1: the image of service "a" needs a value for X/);
    return true;
  });
});

test('- in the lists needs a stream', async () => {
  await failsWith(listImages({ lists: ['-'] }), 'usage', /^read standard input: no stream is given for it$/);
});

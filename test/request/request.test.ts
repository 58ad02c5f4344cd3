import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { formatReference, parseReference } from '../../src/oci/reference.js';
import { Request, writeRequest, type RequestedBlob, type RequestHeader } from '../../src/request/request.js';
import { failsWith } from '../support/errors.js';
import { temp } from '../support/temp.js';

const first = digestOf(Buffer.from('first'));
const second = digestOf(Buffer.from('second'), 'sha512');
const sums = digestOf(Buffer.from('sums'));
const pause = parseReference('site:5000/rancher/pause:3.1');

const blobs: readonly RequestedBlob[] = [
  { digest: first, size: 31_457_280, images: [pause, parseReference('busybox')] },
  { digest: second, size: undefined, images: [] },
];

async function read(path: string): Promise<{ header: RequestHeader; blobs: unknown[] }> {
  const request = await Request.open(path);
  const found = [];
  for await (const { digest, size, images } of request.blobs())
    found.push({ digest, size, images: images.map(formatReference) });
  assert.equal(found.length, request.totals.blobs);
  return { header: request.header, blobs: found };
}

const want = {
  header: { bundle: 'site.tar', sums, head: true },
  blobs: [
    {
      digest: first,
      size: 31_457_280,
      images: ['site:5000/rancher/pause:3.1', 'docker.io/library/busybox:latest'],
    },
    { digest: second, size: undefined, images: [] },
  ],
};

describe('a request', () => {
  const dir = temp({ after });
  const path = join(dir, 'site.request');
  const written = async (): Promise<string> => {
    await writeRequest(path, want.header, blobs);
    return readFileSync(path, 'utf8');
  };
  const typed = (text: string): string => {
    const file = join(dir, 'typed.request');
    writeFileSync(file, text);
    return file;
  };

  test('is written as text and read back', async () => {
    const text = await written();
    assert.deepEqual(await read(path), want);
    assert.match(text, new RegExp(`^blob ${first} 31457280 [a-z]{4}$`, 'm'));
    assert.match(text, /^[\n -~]+$/);
  });

  test('can be typed without comments, in upper case, with other spaces and line ends, and with O and I for digits', async () => {
    const grouped = (digits: string): string =>
      digits.toUpperCase().replaceAll('0', 'O').replaceAll('1', 'I').replace(/.{8}/g, '$& ');
    const lines = (await written())
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .map((line) =>
        line.replace(
          /^(blob|sums) (sha256|sha512):(\w+)(.*)/,
          (_, word: string, algorithm: string, hex: string, rest: string) =>
            `  ${word.toUpperCase()}  ${algorithm.toUpperCase()} ${grouped(hex)}${grouped(rest)}`,
        ),
      );
    assert.match(lines[2] ?? '', /^ {2}SUMS {2}SHA256 \S{8} \S{8} /);
    const file = typed(`\ufeff${lines.join('\r\n')}`);
    assert.deepEqual(await read(file), want);
  });

  test('names every line that has a typing error', async () => {
    const lines = (await written()).split('\n');
    const at = lines.findIndex((line) => line.startsWith('blob'));
    const line = lines[at] ?? '';
    // Each single digit changed, each two neighbours swapped.
    const wrong: string[] = [];
    for (let place = 'blob sha256:'.length; place < line.length; place++) {
      const digit = line[place] ?? '';
      if (digit === ' ') continue;
      wrong.push(line.slice(0, place) + (digit === '7' ? '8' : '7') + line.slice(place + 1));
      const next = line[place + 1] ?? digit;
      if (next !== digit && next !== ' ')
        wrong.push(line.slice(0, place) + next + digit + line.slice(place + 2));
    }
    assert.ok(wrong.length > 120);
    const file = typed(['airlift request 1', line, ...wrong].join('\n'));
    await assert.rejects(Request.open(file), (error: Error) => {
      assert.match(error.message, new RegExp(`^read request .*: ${wrong.length} problems\n`));
      assert.match(error.message, /\n {2}line 3: /);
      return true;
    });
  });

  test('names a digit that is missing', async () => {
    const line = (await written()).split('\n').find((one) => one.startsWith('blob')) ?? '';
    const file = typed(`airlift request 1\n\nblob sha256:${'ab'.repeat(31)}g 1 abcd\n${line.slice(0, -1)}`);
    await failsWith(
      Request.open(file),
      'usage',
      /line 3: not a digest; got 62 hexadecimal digits, want 64\n {2}line 4: /,
    );
  });

  test('refuses other files, newer versions and hostile sizes', async () => {
    await failsWith(Request.open(typed('')), 'input', /the file is empty/);
    await failsWith(Request.open(typed('busybox\n')), 'input', /not a request/);
    await failsWith(Request.open(typed('airlift request 2\nsize x\n')), 'unsupported', /got 2, want 1/);
    await failsWith(Request.open(typed('x'.repeat(5000))), 'input', /line 1 is too long/);
    await failsWith(
      Request.open(typed(`airlift request 1\n# ${'x'.repeat(5000)}`)),
      'input',
      /line 2 is too/,
    );
    await failsWith(Request.open(join(dir, 'none')), 'io', /no such file/);
    const line = (await written()).split('\n').find((one) => one.startsWith('blob')) ?? '';
    const many = `airlift request 1\n${line}\n${'image a/b\n'.repeat(65)}`;
    await failsWith(Request.open(typed(many)), 'usage', /line 67: too many images/);
    await failsWith(Request.open(typed('airlift request 1\nimage a/b')), 'usage', /line 2: want a blob/);
    await assert.rejects(
      Request.open(typed('airlift request 1\nimage a/\u001b[31mb\nrm -rf')),
      (error: Error) => !error.message.includes('\u001b') && error.message.includes('line 3: "rm -rf"'),
    );
  });

  test('lists a blob once that is named twice', async () => {
    const line = (await written()).split('\n').find((one) => one.startsWith('blob')) ?? '';
    const { blobs: found } = await read(typed(`airlift request 1\n${line}\nimage a\n${line}\nimage b\n`));
    assert.equal(found.length, 1);
  });
});

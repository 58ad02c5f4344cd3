import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AirliftError } from '../../src/errors.js';
import { parseImageList, parseImageLists } from '../../src/lists/read.js';
import { formatReference } from '../../src/oci/reference.js';

function names(text: string): string[] {
  return parseImageList(text, 'list.txt').references.map((listed) => formatReference(listed.reference));
}

function refusal(run: () => unknown): AirliftError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof AirliftError);
    return error;
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

test('references of a text list are read in order, with their lines', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const text = `\uFEFF# k3s v1.30\r\n\r\ndocker.io/rancher/pause:3.1\r\n  redis   # the cache\r\nghcr.io/acme/api@${digest}\r\n\t# end\r\nlocalhost:5000/a/b:1#2\n`;
  const bad = refusal(() => parseImageList(text, 'list.txt'));
  assert.match(bad.message, /list\.txt:7: .*"1#2" is not a tag/);
  const { references } = parseImageList(text.replace('#2', ''), 'list.txt');
  assert.deepEqual(
    references.map(({ reference, text, line, tagAssumed }) => [
      formatReference(reference),
      text,
      line,
      tagAssumed,
    ]),
    [
      ['docker.io/rancher/pause:3.1', 'docker.io/rancher/pause:3.1', 3, false],
      ['docker.io/library/redis:latest', 'redis', 4, true],
      [`ghcr.io/acme/api@${digest}`, `ghcr.io/acme/api@${digest}`, 5, false],
      ['localhost:5000/a/b:1', 'localhost:5000/a/b:1', 7, false],
    ],
  );
});

test('duplicates across spellings and lists are dropped; the first is kept', () => {
  const list = parseImageLists([
    { file: 'a.txt', text: 'redis\nnginx:1' },
    { file: 'b.txt', text: 'docker.io/library/redis:latest\nindex.docker.io/nginx:1\nnginx:2\n' },
  ]);
  assert.deepEqual(
    list.references.map((listed) => `${listed.file}:${listed.line} ${formatReference(listed.reference)}`),
    [
      'a.txt:1 docker.io/library/redis:latest',
      'a.txt:2 docker.io/library/nginx:1',
      'b.txt:3 docker.io/library/nginx:2',
    ],
  );
  assert.equal(list.references[0]?.tagAssumed, false, 'one of the lists names the tag');
});

test('an empty list is an empty list', () => {
  for (const text of ['', '\n', '# nothing\n\n', '\uFEFF', '\r\n\r\n']) assert.deepEqual(names(text), []);
});

test('the invalid lines of all lists are reported together, as a usage error', () => {
  const error = refusal(() =>
    parseImageLists([
      { file: 'a.txt', text: 'ok:1\nRedis\ndocker://x\na b\n' },
      { file: 'b.txt', text: `\n${'x'.repeat(5000)}\nfine\nx@sha256:12` },
    ]),
  );
  assert.equal(error.code, 'usage');
  const lines = error.message.split('\n');
  assert.equal(lines[0], 'read images: 5 problems');
  assert.deepEqual(
    lines.slice(1).map((line) => /^ {2}([ab]\.txt:\d+): /.exec(line)?.[1]),
    ['a.txt:2', 'a.txt:3', 'a.txt:4', 'b.txt:2', 'b.txt:4'],
  );
  assert.match(error.message, /repository paths are lower case/);
});

test('the message about a list of invalid lines is bounded and counts the rest', () => {
  const error = refusal(() => parseImageList('UPPER\n'.repeat(20_000), 'x'));
  assert.match(error.message, /^read images: 20000 problems\n/);
  assert.match(error.message, /\n {2}and 19950 more$/);
  assert.ok(error.message.length < 10_000);
});

test('a list that is too large is refused', () => {
  assert.match(refusal(() => parseImageList('a'.repeat(17 << 20), 'x')).message, /^read x: too large/);
  const many = Array.from({ length: 100_001 }, (_, at) => `a:${at}`).join('\n');
  assert.match(refusal(() => parseImageList(many, 'x')).message, /more than 100000 image references/);
});

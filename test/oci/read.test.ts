import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { AirliftError } from '../../src/errors.js';
import { readContent } from '../../src/oci/read.js';
import { testDigest } from '../support/content.js';
import { failsWith } from '../support/errors.js';

const bytes = Buffer.from('{"architecture":"arm64","os":"linux"}');
const descriptor = { mediaType: 'application/json', digest: testDigest(bytes), size: bytes.length };
const name = { registry: 'a.test', repository: 'b' };

/** A source that gives the first so many answers in turn, and then the content. */
function sourceOf(...answers: (() => Readable)[]): { fetch(): Promise<Readable>; asked: number } {
  return {
    asked: 0,
    fetch() {
      const answer = answers[this.asked++];
      return new Promise((done) => done(answer === undefined ? Readable.from([bytes]) : answer()));
    },
  };
}

const broken = (): Readable =>
  Readable.from(
    (async function* () {
      yield await Promise.resolve(bytes.subarray(0, 5));
      throw new AirliftError('network', 'read: broke');
    })(),
  );
const flipped = (): Readable => Readable.from([Buffer.from(bytes).fill('x', 3, 4)]);
const short = (): Readable => Readable.from([bytes.subarray(1)]);

test('content that breaks off, or is wrong once, is read again', async () => {
  for (const answers of [[broken], [broken, broken, flipped, broken], [short]]) {
    const source = sourceOf(...answers);
    assert.deepEqual(await readContent(source, name, descriptor), bytes);
    assert.equal(source.asked, answers.length + 1);
  }
});

test('reading fails after repeated breaks, repeated wrong content, or no response at all', async () => {
  await failsWith(
    readContent(sourceOf(...Array<() => Readable>(20).fill(broken)), name, descriptor),
    'network',
    /broke/,
  );
  await failsWith(
    readContent(sourceOf(flipped, flipped), name, descriptor),
    'digest-mismatch',
    /want sha256/,
  );
  await failsWith(readContent(sourceOf(short, flipped), name, descriptor), 'digest-mismatch', /want sha256/);
  const refusing = sourceOf(() => {
    throw new AirliftError('network', 'refused');
  });
  await failsWith(readContent(refusing, name, descriptor), 'network', /refused/);
  assert.equal(refusing.asked, 1);
});

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';
import { digestOf, isDigest, parseDigest, Verifier } from '../../src/oci/digest.js';

const bytes = Buffer.from('airlift');

test('digests equal those of node:crypto', () => {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    assert.equal(
      digestOf(bytes, algorithm),
      `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`,
    );
  }
});

test('only registered algorithms in lower case and full length are digests', () => {
  assert.ok(isDigest(`sha256:${'0'.repeat(64)}`));
  assert.ok(isDigest(`sha512:${'0'.repeat(128)}`));
  for (const text of [
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'0'.repeat(63)}`,
    `md5:${'0'.repeat(32)}`,
    'sha256:',
    '',
    `sha512:${'0'.repeat(64)}`,
    7,
  ]) {
    assert.ok(!isDigest(text));
  }
  assert.throws(
    () => parseDigest('sha256:../../etc/passwd'),
    (error) => isAirliftError(error, 'input'),
  );
});

function codeOf(content: Buffer, size: number): ErrorCode | undefined {
  const verifier = new Verifier(digestOf(bytes), size);
  try {
    verifier.update(content);
    verifier.end();
    return undefined;
  } catch (error) {
    return isAirliftError(error) ? error.code : assert.fail(String(error));
  }
}

test('content is compared with its digest and size', () => {
  assert.equal(codeOf(bytes, bytes.byteLength), undefined);
  assert.equal(codeOf(bytes.subarray(1), bytes.byteLength), 'size-mismatch');
  assert.equal(codeOf(Buffer.concat([bytes, bytes]), bytes.byteLength), 'size-mismatch');
  assert.equal(codeOf(Buffer.from('airlifT'), bytes.byteLength), 'digest-mismatch');
});

test('too much content is refused before it is hashed to its end', () => {
  const verifier = new Verifier(digestOf(bytes), bytes.byteLength);
  assert.throws(
    () => verifier.update(Buffer.alloc(8)),
    (error) => isAirliftError(error, 'size-mismatch'),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { DigestMap } from '../../src/oci/digest-map.js';

test('a map of digests keeps the last value of each of many digests, of both algorithms', () => {
  const map = new DigestMap();
  const want = new Map<Digest, number>();
  const set = (digest: Digest, value: number): void => {
    map.set(digest, value);
    want.set(digest, value);
  };
  for (let number = 1; number <= 10_000; number++) {
    set(digestOf(Buffer.from(`blob ${number}`)), number);
    if (number % 100 === 0) set(digestOf(Buffer.from(`blob ${number}`), 'sha512'), 0xffff_ffff - number);
    if (number % 3 === 0) set(digestOf(Buffer.from(`blob ${number / 3}`)), number * 7);
  }
  for (const [digest, value] of want) assert.equal(map.get(digest), value);
  assert.equal(map.get(digestOf(Buffer.from('another blob'))), 0);
  assert.equal(map.get(digestOf(Buffer.from('another blob'), 'sha512')), 0);
});

test('a map of digests does not confuse digests that differ in only one of their eight words', () => {
  const map = new DigestMap();
  const digestAt = (at: number, number: number): Digest => {
    const hex = number.toString(16).padStart(8, '0');
    return `sha256:${'0'.repeat(at * 8)}${hex}${'0'.repeat(56 - at * 8)}` as Digest;
  };
  // Multiples of 65536, so that the lower halves of all words are equal.
  for (let at = 0; at < 8; at++)
    for (let number = 1; number < 2000; number++) map.set(digestAt(at, number * 65536), at * 10_000 + number);
  for (let at = 0; at < 8; at++)
    for (let number = 1; number < 2000; number++)
      assert.equal(map.get(digestAt(at, number * 65536)), at * 10_000 + number);
});

import { createCipheriv, createHash } from 'node:crypto';
import type { Digest } from '../../src/oci/digest.js';
import { storedGzip } from './stored.js';
import { tarHeader, tarPadding } from './tar.js';

export type Algorithm = 'sha256' | 'sha512';

/** Content by its digest: bytes in memory, or made anew each time it is opened. */
export interface Content {
  readonly digest: Digest;
  readonly size: number;
  open(): Iterable<Uint8Array>;
}

/** The digest of bytes, computed apart from airlift's own code. */
export function testDigest(bytes: Uint8Array | string, algorithm: Algorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** Content held in memory. */
export function inMemory(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): Content {
  return { digest: testDigest(bytes, algorithm), size: bytes.length, open: () => [bytes] };
}

/** All bytes of a content at once. */
export function bytesOf(content: Content): Buffer {
  return Buffer.concat([...content.open()]);
}

/** `bytes` incompressible bytes that depend on `seed` alone (AES-128 in counter mode), in chunks of up to a megabyte. */
export function* noise(bytes: number, seed: string): Generator<Buffer> {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16));
  const zeros = Buffer.alloc(Math.min(bytes, 1_048_560));
  for (let left = bytes; left > 0; left -= zeros.length)
    yield cipher.update(left < zeros.length ? zeros.subarray(0, left) : zeros);
}

function* noiseTar(bytes: number, seed: string): Generator<Buffer> {
  yield tarHeader({ name: `data/${createHash('sha256').update(seed).digest('hex').slice(0, 16)}` }, bytes);
  yield* noise(bytes, seed);
  yield Buffer.alloc(tarPadding(bytes) + 1024);
}

/**
 * The content of a layer for a large image: a gzipped tar with one file of `bytes` incompressible bytes, never held whole in
 * memory. A megabyte takes about 3 ms to make.
 */
export function bigContent(bytes: number, seed: string): { content: Content; diffId: Digest } {
  const inner = createHash('sha256');
  const outer = createHash('sha256');
  let size = 0;
  function* hashed(): Generator<Buffer> {
    for (const chunk of noiseTar(bytes, seed)) {
      inner.update(chunk);
      yield chunk;
    }
  }
  for (const chunk of storedGzip(hashed())) {
    outer.update(chunk);
    size += chunk.length;
  }
  const digest = `sha256:${outer.digest('hex')}` as Digest;
  return {
    content: { digest, size, open: () => storedGzip(noiseTar(bytes, seed)) },
    diffId: `sha256:${inner.digest('hex')}` as Digest,
  };
}

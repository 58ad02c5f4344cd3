import { createCipheriv, createHash } from 'node:crypto';
import type { Digest } from '../../src/oci/digest.js';
import { storedGzip } from './stored.js';
import { tarHeader, tarPadding } from './tar.js';

export type Algorithm = 'sha256' | 'sha512';

/** Content with its digest: bytes in memory, or generated each time it is opened. */
export interface Content {
  readonly digest: Digest;
  readonly size: number;
  open(): Iterable<Uint8Array>;
}

/** Computes the digest of bytes, independently of airlift's code. */
export function testDigest(bytes: Uint8Array | string, algorithm: Algorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** Returns bytes in memory as content. */
export function inMemory(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): Content {
  return { digest: testDigest(bytes, algorithm), size: bytes.length, open: () => [bytes] };
}

/** Returns all bytes of a content. */
export function bytesOf(content: Content): Buffer {
  return Buffer.concat([...content.open()]);
}

/** Yields `bytes` incompressible bytes that depend only on `seed` (AES-128 in counter mode), in chunks of up to a megabyte. */
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
 * Returns the content of a large layer: a gzipped tar with one file of `bytes` incompressible bytes, generated in chunks. A
 * megabyte takes about 3 ms.
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

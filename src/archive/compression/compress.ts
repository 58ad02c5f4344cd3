import { createHash, type Hash } from 'node:crypto';
import { gzipMembers } from './gzip-writer.js';
import type { Compression } from './decompress.js';
import { zstdFrames } from './zstd-writer.js';
import type { CompressionOptions } from './compress-blocks.js';
import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';

/** A layer that was written compressed, and its content before. */
export interface CompressedLayer {
  /** Digest of the bytes written. */
  readonly digest: Digest;
  /** Bytes written. */
  readonly size: number;
  /** Digest of the content before compression (OCI image-spec, config.md, `rootfs.diff_ids`). */
  readonly diffId: Digest;
}

/** Compresses a stream in bounded memory. Copies chunks before it takes the next one. */
export type Encoder = (source: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

/** Hashes chunks as they pass. */
export async function* hashing<T extends Uint8Array>(
  chunks: AsyncIterable<T> | Iterable<T>,
  hash: Hash,
): AsyncGenerator<T> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Returns content unchanged. */
function unchanged(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return source;
}

/**
 * Returns the encoder of a compression.
 * @throws AirliftError `usage` where the level is not from 1 to 9
 */
export function encoderOf(compression: Compression, options: CompressionOptions = {}): Encoder {
  const { level } = options;
  if (level !== undefined && !(Number.isInteger(level) && level >= 1 && level <= 9)) {
    throw new AirliftError('usage', `compress ${compression}: invalid level; got ${level}, want 1 to 9`);
  }
  switch (compression) {
    case 'none':
      return unchanged;
    case 'gzip':
      return (source) => gzipMembers(source, options);
    case 'zstd':
      return (source) => zstdFrames(source, options);
  }
}

/**
 * Compresses a layer, so that the same content gives the same digest, and computes the digests before and after.
 * @param write takes the next bytes of the compressed layer
 * @throws AirliftError `usage` where the level is invalid; errors of `source` and `write`
 */
export async function compressLayer(
  source: AsyncIterable<Buffer>,
  write: (chunk: Buffer) => void,
  compression: Compression,
  options: CompressionOptions = {},
): Promise<CompressedLayer> {
  const encode = encoderOf(compression, options);
  const plain = createHash('sha256');
  const packed = createHash('sha256');
  let size = 0;
  for await (const chunk of encode(hashing(source, plain))) {
    packed.update(chunk);
    size += chunk.byteLength;
    write(chunk);
  }
  const digest = `sha256:${packed.digest('hex')}` as Digest;
  return { digest, size, diffId: `sha256:${plain.digest('hex')}` as Digest };
}

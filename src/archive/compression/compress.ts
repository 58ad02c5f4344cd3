import { createHash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Compression } from './decompress.js';
import { gzipMembers } from './gzip-writer.js';
import { zstdFrames, type ZstdOptions } from './zstd-writer.js';
import { onFile } from '../io/output-file.js';
import { AirliftError, checkInterrupted } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';

/** A layer that was written compressed, and its content before. */
export interface CompressedLayer {
  /** Digest of the bytes written. */
  readonly digest: Digest;
  /** Bytes written. */
  readonly size: number;
  /** Digest of the content before compression (OCI image-spec, config.md, `rootfs.diff_ids`). */
  readonly diffId: Digest;
  /** Bytes of the content before compression. */
  readonly uncompressedSize: number;
}

/** Compresses a stream in bounded memory. */
export type Encoder = (source: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

/** Counts and hashes a stream as it passes. */
class Meter {
  readonly #hash = createHash('sha256');
  size = 0;

  async *through(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      this.size += chunk.byteLength;
      this.#hash.update(chunk);
      yield chunk;
    }
  }

  end(): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest;
  }
}

async function writeFile(path: string, file: FileHandle, chunks: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of chunks) await onFile(path, file.writeFile(chunk));
}

/**
 * Writes `source` through `encode` to `to`, and computes the digests before and after.
 * @param to a stream, which is ended, or the path of a new file, which is removed on failure
 * @throws AirliftError `io` or `no-space` where the file cannot be written, `interrupted` where `signal` is aborted; errors of
 *   `source`
 */
async function writeCompressed(
  source: Readable,
  to: Writable | string,
  encode: Encoder,
  signal?: AbortSignal,
): Promise<CompressedLayer> {
  const plain = new Meter();
  const packed = new Meter();
  const encoded = (chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> =>
    packed.through(encode(plain.through(chunks)));
  try {
    if (typeof to === 'string') {
      const file = await onFile(to, open(to, 'wx'));
      try {
        await pipeline(source, encoded, (chunks) => writeFile(to, file, chunks), { signal });
        await onFile(to, file.close());
      } catch (error) {
        await file.close().catch(() => undefined);
        await rm(to, { force: true });
        throw error;
      }
    } else {
      await pipeline(source, encoded, to, { signal });
    }
  } catch (error) {
    source.destroy();
    checkInterrupted(signal, 'compress layer');
    throw error;
  }
  return {
    digest: packed.end(),
    size: packed.size,
    diffId: plain.end(),
    uncompressedSize: plain.size,
  };
}

/** Returns content unchanged. */
function unchanged(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return source;
}

/**
 * Returns the encoder of a compression.
 * @throws AirliftError `usage` where the level is not from 1 to 9
 */
export function encoderOf(compression: Compression, options: ZstdOptions = {}): Encoder {
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
 * Writes a layer, compressed or not (`none`), so that the same content always gives the same digest, and computes the digests before
 * and after.
 * @param to a stream, which is ended, or the path of a new file, which is removed on failure
 * @throws AirliftError `usage` where the level is invalid; `io`, `no-space`, `interrupted` and errors of `source` as
 *   `writeCompressed`
 */
export async function compressLayer(
  source: Readable,
  to: Writable | string,
  compression: Compression,
  options: Omit<ZstdOptions, 'portable'> & { readonly signal?: AbortSignal | undefined } = {},
): Promise<CompressedLayer> {
  const encode = encoderOf(compression, { ...options, portable: true });
  return writeCompressed(source, to, encode, options.signal);
}

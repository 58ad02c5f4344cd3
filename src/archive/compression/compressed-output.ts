import { createHash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AirliftError, isAirliftError, isOutOfSpace, messageOf } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';

/** A layer that was written compressed, and what it was before. */
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

/** Turns content into compressed content as it passes, holding a bounded part of it. */
export type Encoder = (source: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

/** Counts and digests what passes. */
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

/** The error of a file that could not be written. */
function writeFailed(path: string, cause: unknown): AirliftError {
  const full = isOutOfSpace(cause);
  return new AirliftError(full ? 'no-space' : 'io', `write ${path}: ${messageOf(cause)}`, { cause });
}

/**
 * Runs a file operation and names the file where it fails.
 * @throws AirliftError `io`, `no-space`
 */
export async function onFile<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw writeFailed(path, error);
  }
}

async function writeFile(path: string, file: FileHandle, chunks: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of chunks) await onFile(path, file.writeFile(chunk));
}

/**
 * Writes `source` through `encode` to `to`, and digests both sides on the way.
 * @param to a stream, which is ended, or the path of a file that does not exist yet and is removed again where anything fails
 * @throws AirliftError `io` or `no-space` where the file can't be written, `interrupted` where `signal` is aborted; and
 *   whatever `source` fails with
 */
export async function writeCompressed(
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
    if (signal?.aborted !== true) throw error;
    if (isAirliftError(signal.reason)) throw signal.reason;
    throw new AirliftError('interrupted', 'compress layer: interrupted', { cause: error });
  }
  return {
    digest: packed.end(),
    size: packed.size,
    diffId: plain.end(),
    uncompressedSize: plain.size,
  };
}

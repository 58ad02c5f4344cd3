import type { Readable, Writable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { writeCompressed, type CompressedLayer, type Encoder } from './compressed-output.js';
import type { Compression } from './compression.js';
import { gzipMembers } from './gzip-writer.js';
import { zstdFrames, type ZstdOptions } from './zstd-writer.js';

/** Hands content on as it is. */
function unchanged(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return source;
}

/**
 * What turns content into compressed content.
 * @throws AirliftError `usage` where the level is not one of 1 to 9
 */
export function encoderOf(compression: Compression, options: ZstdOptions = {}): Encoder {
  const { level } = options;
  if (level !== undefined && !(Number.isInteger(level) && level >= 1 && level <= 9)) {
    throw new AirliftError('usage', `compress ${compression}: no such level; got ${level}, want 1 to 9`);
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
 * Writes a layer compressed (or not, with `none`), so that the same content gives the same digest each time, and digests both
 * sides on the way.
 * @param to a stream, which is ended, or the path of a file that does not exist yet and is removed again where anything fails
 * @throws AirliftError `usage` where there is no such level; `io`, `no-space` or `interrupted`, as `writeCompressed` does
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

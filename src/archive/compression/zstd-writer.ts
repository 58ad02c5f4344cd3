import { compressBlocks, compressionThreads } from './compress-blocks.js';
import type { CompressionOptions } from './gzip-writer.js';
import { nodeEncoder, portableEncoder } from './zstd-encoders.js';

/**
 * Bytes of content in one frame, and so the largest window a reader needs. Against one frame, 4 MiB cost 1.7 % in size at
 * level 3. No frame says a content size that a reader's limit might refuse.
 */
const blockSize = 4 * 1024 * 1024;

/** As `zstd` itself: level 3 leaves 39 % of executables and libraries. */
const defaultLevel = 3;

export interface ZstdOptions extends CompressionOptions {
  /**
   * The same bytes on every version of Node, for what is known by its digest. Otherwise Node's own encoder is used where there is
   * one, which is several times as fast.
   */
  readonly portable?: boolean | undefined;
}

/** Compresses content as zstd frames (RFC 8878) of 4 MiB of content each, on several cores; they come out in order. */
export function zstdFrames(
  source: AsyncIterable<Buffer>,
  { level = defaultLevel, concurrency = compressionThreads + 1, portable = false }: ZstdOptions = {},
): AsyncGenerator<Buffer> {
  const encode = portable ? portableEncoder : (nodeEncoder ?? portableEncoder);
  return compressBlocks(source, { size: blockSize, concurrency }, (block) => encode(block, level));
}

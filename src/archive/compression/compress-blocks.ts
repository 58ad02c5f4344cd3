import { availableParallelism } from 'node:os';

/** Level and concurrency of compression. */
export interface CompressionOptions {
  /** 1 (fast) to 9 (small), on the scale of gzip and zstd. The bytes depend on it. */
  readonly level?: number | undefined;
  /** Blocks compressed at a time (default: two per thread for gzip). Affects memory and speed, never the bytes. */
  readonly concurrency?: number | undefined;
}

export interface BlockOptions {
  /** Bytes of content in a block. The output depends on it, and on nothing about how the content arrives. */
  readonly size: number;
  /** Blocks compressed at a time. Affects memory and speed, never the bytes. */
  readonly concurrency: number;
}

/** Threads for compression: libuv runs four at a time, however many cores the machine has. */
export const compressionThreads = Math.min(4, availableParallelism());

/**
 * Cuts content into blocks of `size` bytes (the last may be shorter), whatever the size of its chunks.
 * @param used blocks whose memory may be used again
 */
async function* blocksOf(
  source: AsyncIterable<Buffer>,
  size: number,
  used: Buffer<ArrayBuffer>[],
): AsyncGenerator<Buffer<ArrayBuffer>> {
  let block = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const taken = chunk.copy(block, filled, at);
      at += taken;
      filled += taken;
      if (filled < size) continue;
      yield block;
      block = used.pop() ?? Buffer.allocUnsafeSlow(size);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

/**
 * Compresses content block by block, several at a time, and yields the results in order. Each result must be complete in itself (gzip
 * members, a zstd frame), so that their concatenation is valid.
 * @param compress may transfer the block's memory to another thread
 */
export async function* compressBlocks(
  source: AsyncIterable<Buffer>,
  { size, concurrency }: BlockOptions,
  compress: (block: Buffer<ArrayBuffer>) => Promise<readonly Buffer[]>,
): AsyncGenerator<Buffer> {
  const running: Promise<readonly Buffer[]>[] = [];
  const used: Buffer<ArrayBuffer>[] = [];
  const start = (block: Buffer<ArrayBuffer>): void => {
    const job = compress(block).then((compressed) => {
      // Memory that was transferred to another thread is gone.
      if (block.byteLength === size) used.push(block);
      return compressed;
    });
    // Errors are thrown where the job is awaited; a job that is no longer awaited must not end the process.
    job.catch(() => undefined);
    running.push(job);
  };
  let empty = true;
  for await (const block of blocksOf(source, size, used)) {
    empty = false;
    start(block);
    const due = running.length < concurrency ? undefined : running.shift();
    if (due !== undefined) yield* await due;
  }
  // Empty content is one block, because an empty file is neither gzip nor zstd.
  if (empty) start(Buffer.alloc(0));
  for (const job of running) yield* await job;
}

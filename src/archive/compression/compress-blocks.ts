import { availableParallelism } from 'node:os';

/** How hard to compress, and how much at a time. */
export interface CompressionOptions {
  /** 1 (fast) to 9 (small), as gzip and zstd count. Part of what decides the bytes. */
  readonly level?: number | undefined;
  /** Blocks compressed at a time; decides memory and speed, never the bytes. Default: two a thread. */
  readonly concurrency?: number | undefined;
}

export interface BlockOptions {
  /** Bytes of content in a block. Part of what decides the output: it must not depend on how the content arrives. */
  readonly size: number;
  /** Blocks compressed at a time; decides memory and speed, never the bytes. */
  readonly concurrency: number;
}

/** Threads that compression by zlib or zstd gets: libuv runs four at a time, however many cores there are. */
export const compressionThreads = Math.min(4, availableParallelism());

/** Cuts content into blocks of `size` bytes (the last one shorter), however it arrives. */
async function* blocksOf(source: AsyncIterable<Buffer>, size: number): AsyncGenerator<Buffer<ArrayBuffer>> {
  let block = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const taken = chunk.copy(block, filled, at);
      at += taken;
      filled += taken;
      if (filled < size) continue;
      yield block;
      block = Buffer.allocUnsafeSlow(size);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

/**
 * Compresses content block by block, several at a time, and gives the results in order. What a block becomes must stand for
 * itself (a gzip member, a zstd frame), so that the results one behind the other are the whole.
 * @param compress may take the block's memory away
 */
export async function* compressBlocks(
  source: AsyncIterable<Buffer>,
  { size, concurrency }: BlockOptions,
  compress: (block: Buffer<ArrayBuffer>) => Promise<Buffer>,
): AsyncGenerator<Buffer> {
  const underway: Promise<Buffer>[] = [];
  const start = (block: Buffer<ArrayBuffer>): void => {
    const job = compress(block);
    // Failures surface where the job is awaited; one that nobody awaits any more must not end the process.
    job.catch(() => undefined);
    underway.push(job);
  };
  let empty = true;
  for await (const block of blocksOf(source, size)) {
    empty = false;
    start(block);
    const due = underway.length < concurrency ? undefined : underway.shift();
    if (due !== undefined) yield await due;
  }
  // Even nothing is one block: a file of no bytes is neither gzip nor zstd.
  if (empty) start(Buffer.alloc(0));
  for (const job of underway) yield await job;
}

import { availableParallelism } from 'node:os';

/** Level and concurrency of compression. */
export interface CompressionOptions {
  /** 1 (fast) to 9 (small), on the scale of gzip and zstd. The bytes depend on it. */
  readonly level?: number | undefined;
  /** Blocks compressed at a time (default: two per thread for gzip). Affects memory and speed, never the bytes. */
  readonly concurrency?: number | undefined;
  /** Where the source finds memory for its next chunk, if it reads straight into blocks. */
  readonly room?: BlockRoom | undefined;
}

export interface BlockOptions {
  /** Bytes of content in a block. The output depends on it, and on nothing about how the content arrives. */
  readonly size: number;
  /** Blocks compressed at a time. Affects memory and speed, never the bytes. */
  readonly concurrency: number;
  readonly room?: BlockRoom | undefined;
}

/** The rest of the block that is filled next. A source that reads its chunks into it saves a copy of them. */
export class BlockRoom {
  rest: Buffer = Buffer.alloc(0);
}

/** Threads for compression: libuv runs four at a time, however many cores the machine has. */
export const compressionThreads = Math.min(4, availableParallelism());

/** Memory of blocks that are not in use, by size: the next layer uses it again. */
const free = new Map<number, Buffer<ArrayBuffer>[]>();

function takeBlock(size: number): Buffer<ArrayBuffer> {
  return free.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
}

/** Keeps the memory of a block, unless it was transferred to another thread. */
function freeBlock(block: Buffer<ArrayBuffer>): void {
  const { buffer } = block;
  if (buffer.byteLength === 0) return;
  const blocks = free.get(buffer.byteLength) ?? [];
  free.set(buffer.byteLength, blocks);
  blocks.push(Buffer.from(buffer));
}

/** Cuts content into blocks of `size` bytes (the last may be shorter), whatever the size of its chunks. */
async function* blocksOf(
  source: AsyncIterable<Buffer>,
  size: number,
  room = new BlockRoom(),
): AsyncGenerator<Buffer<ArrayBuffer>> {
  let block = takeBlock(size);
  let filled = 0;
  room.rest = block;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const isInPlace = chunk.buffer === block.buffer && chunk.byteOffset === filled;
      const taken = isInPlace ? chunk.byteLength : chunk.copy(block, filled, at);
      at += taken;
      filled += taken;
      if (filled === size) {
        yield block;
        block = takeBlock(size);
        filled = 0;
      }
      room.rest = block.subarray(filled);
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
  else freeBlock(block);
}

/**
 * Compresses content block by block, several at a time, and yields the results in order. Each result must be complete in itself (gzip
 * members, a zstd frame), so that their concatenation is valid.
 * @param compress may transfer the block's memory to another thread
 */
export async function* compressBlocks(
  source: AsyncIterable<Buffer>,
  { size, concurrency, room }: BlockOptions,
  compress: (block: Buffer<ArrayBuffer>) => Promise<readonly Buffer[]>,
): AsyncGenerator<Buffer> {
  const running: Promise<readonly Buffer[]>[] = [];
  const start = (block: Buffer<ArrayBuffer>): void => {
    const job = compress(block).then((compressed) => {
      freeBlock(block);
      return compressed;
    });
    // Errors are thrown where the job is awaited; a job that is no longer awaited must not end the process.
    job.catch(() => undefined);
    running.push(job);
  };
  let empty = true;
  for await (const block of blocksOf(source, size, room)) {
    empty = false;
    start(block);
    const due = running.length < concurrency ? undefined : running.shift();
    if (due !== undefined) yield* await due;
  }
  // Empty content is one block, because an empty file is neither gzip nor zstd.
  if (empty) start(Buffer.alloc(0));
  for (const job of running) yield* await job;
}

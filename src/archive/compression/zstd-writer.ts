import * as zlib from 'node:zlib';
import { Worker } from 'node:worker_threads';
import { compressBlocks, compressionThreads, type CompressionOptions } from './compress-blocks.js';
import type { ZstdJob, ZstdJobResult } from './zstd-encoder-worker.js';
import { AirliftError } from '../../errors.js';

/** Compresses a block into one zstd frame (RFC 8878). */
export type FrameEncoder = (block: Buffer<ArrayBuffer>, level: number) => Promise<Buffer>;

/** The zstd function of node:zlib, available since Node 22.15. */
interface NodeZstd {
  zstdCompress(
    content: Uint8Array,
    options: { params: Record<number, number> },
    done: (error: Error | null, compressed: Buffer) => void,
  ): void;
}

/** `ZSTD_c_compressionLevel` and `ZSTD_c_checksumFlag` of zstd.h. */
const parameters = { level: 100, checksum: 201 };

function hasZstd(module: object): module is NodeZstd {
  return 'zstdCompress' in module;
}

function nodeEncoderOf(module: object): FrameEncoder | undefined {
  if (!hasZstd(module)) return undefined;
  return (block, level) =>
    new Promise((resolve, reject) => {
      const params = { [parameters.level]: level, [parameters.checksum]: 1 };
      module.zstdCompress(block, { params }, (error, frame) =>
        error === null ? resolve(frame) : reject(error),
      );
    });
}

/** Node's own encoder, with a checksum in each frame; undefined before Node 22.15. Several times as fast as `portableEncoder`. */
export const nodeEncoder: FrameEncoder | undefined = nodeEncoderOf(zlib);

/** A worker thread that compresses one block at a time with zstd-codec. */
class EncoderThread {
  readonly #worker = new Worker(new URL('./zstd-encoder-worker.js', import.meta.url));
  #settle: ((result: ZstdJobResult) => void) | undefined;
  #hasEnded = false;

  constructor() {
    this.#worker.on('message', (result: ZstdJobResult) => this.#settle?.(result));
    this.#worker.on('error', (error) => this.#end(error.message));
    this.#worker.on('exit', () => this.#end('the worker thread ended'));
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  #end(how: string): void {
    this.#hasEnded = true;
    this.#settle?.({ failed: how });
  }

  async compress(job: ZstdJob): Promise<Buffer> {
    if (this.#hasEnded) throw new AirliftError('io', 'compress zstd: the worker thread ended');
    const done = new Promise<ZstdJobResult>((resolve) => (this.#settle = resolve));
    this.#worker.ref();
    this.#worker.postMessage(job, [job.block.buffer]);
    const result = await done;
    // An idle thread does not keep the process alive.
    this.#worker.unref();
    if ('failed' in result) throw new AirliftError('io', `compress zstd: ${result.failed}`);
    return Buffer.from(result.frame.buffer);
  }
}

const idle: EncoderThread[] = [];
const waiting: (() => void)[] = [];
let busy = 0;

/**
 * Compresses with zstd-codec, in threads that are reused, for versions of Node without an encoder. The block's memory is transferred to
 * the thread.
 */
export async function portableEncoder(block: Buffer<ArrayBuffer>, level: number): Promise<Buffer> {
  while (busy >= compressionThreads) await new Promise<void>((resolve) => waiting.push(resolve));
  busy++;
  const thread = idle.pop() ?? new EncoderThread();
  try {
    return await thread.compress({ block, level });
  } finally {
    busy--;
    if (!thread.hasEnded) idle.push(thread);
    waiting.shift()?.();
  }
}

/**
 * Bytes of content in a frame, and so the largest window a reader needs. Frames of 4 MiB are 1.7 % larger than a single frame at
 * level 3, and no reader refuses their size.
 */
const blockSize = 4 * 1024 * 1024;

/** The default of `zstd`: level 3 compresses executables and libraries to 39 %. */
const defaultLevel = 3;

/** The version of the encoder: another one compresses to other bytes. */
export const zstdVersion =
  nodeEncoder === undefined ? 'zstd-codec' : `node-${process.versions['zstd'] ?? process.version}`;

/** Compresses content into zstd frames (RFC 8878) of 4 MiB of content each, in several threads. */
export function zstdFrames(
  source: AsyncIterable<Buffer>,
  { level = defaultLevel, concurrency = compressionThreads + 1, room }: CompressionOptions = {},
  encode = nodeEncoder ?? portableEncoder,
): AsyncGenerator<Buffer> {
  return compressBlocks(source, { size: blockSize, concurrency, room }, async (block) => [
    await encode(block, level),
  ]);
}

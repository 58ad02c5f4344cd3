import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AirliftError, isAirliftError } from '../../errors.js';
import { formatBytes } from '../../oci/bytes.js';
import type { FileRange } from '../../io/byte-range.js';
import type { Scratch } from '../io/scratch.js';
import { decompress } from '../compression/decompress.js';
import { FrameSplitter } from '../compression/zstd-frames.js';

/** Content that unpacks to more than this, and to more than `bombRatio` times its size, is taken for a bomb. */
const bombFloor = 1024 * 1024 * 1024;
/** Image archives shrink to between a half and a tenth; whole disks of zeros inside of them are rare. */
const bombRatio = 500;

/** Counts what goes in and what comes out, and stops where the two are too far apart. */
class Proportion {
  #in = 0;
  #out = 0;

  constructor(private readonly what: string) {}

  async *entering(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of input) {
      this.#in += chunk.byteLength;
      yield chunk;
    }
  }

  async *leaving(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of output) {
      this.#out += chunk.byteLength;
      if (this.#out > bombFloor && this.#out > this.#in * bombRatio) {
        throw new AirliftError(
          'damaged',
          `decompress ${this.what}: ${formatBytes(this.#in)} unpack to more than ${formatBytes(this.#out)}: taken for a bomb`,
          { hint: 'if it is meant to be like that, unpack it first and give the .tar' },
        );
      }
      yield chunk;
    }
  }
}

/** The least that content unpacks to, as far as its first bytes say; its own size where they do not. */
export function leastUnpacked(head: Uint8Array, size: number): number {
  const frames = new FrameSplitter();
  try {
    frames.split(head);
  } catch {
    return size;
  }
  return Math.max(size, frames.contentSize ?? 0);
}

/**
 * Takes the compression off a stream and stores what comes out in a scratch file.
 * @param what names the content, for messages
 * @throws AirliftError `no-space` where it does not fit, `damaged` where the input is broken or a bomb, `unsupported` where its
 *   compression is not read, `interrupted` where `signal` is aborted
 */
export async function spool(
  input: Readable,
  scratch: Scratch,
  what: string,
  signal?: AbortSignal,
): Promise<FileRange> {
  const proportion = new Proportion(what);
  try {
    const { content } = await decompress(proportion.entering(input), what);
    const { stream, range } = scratch.append(what);
    await pipeline(content, (chunks: AsyncIterable<Uint8Array>) => proportion.leaving(chunks), stream, {
      signal,
    });
    return range();
  } catch (error) {
    input.destroy();
    if (signal?.aborted !== true) throw error;
    if (isAirliftError(signal.reason)) throw signal.reason;
    throw new AirliftError('interrupted', `read ${what}: interrupted`, { cause: error });
  }
}

import { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { magicLength, tellFormat, type Compression, type ForeignFormat } from './compression.js';
import { gunzip } from './gzip-reader.js';
import { unzstd } from './zstd-reader.js';

/** Content with its compression taken off. */
export interface Decompressed {
  /** What the content was compressed with, told by its first bytes. */
  readonly compression: Compression;
  readonly content: Readable;
}

function refusal(format: ForeignFormat, what: string): AirliftError {
  const hint =
    format.command === undefined
      ? 'want a tar archive, plain or compressed with gzip or zstd'
      : `unpack it first: ${format.command} FILE > FILE.tar, or pipe that into airlift with - in the place of FILE`;
  return new AirliftError(
    'unsupported',
    `read ${what}: ${format.name} is not read; want gzip, zstd or no compression`,
    {
      hint,
    },
  );
}

/**
 * Tells the compression of content by its first bytes.
 * @param what names the content, for messages
 * @throws AirliftError `unsupported` where it is a format that is known but not read
 */
export function tellCompression(head: Uint8Array, what: string): Compression {
  const format = tellFormat(head);
  if (typeof format !== 'string') throw refusal(format, what);
  return format;
}

/** A stream whose first bytes can be seen before it is read. */
class Peeked {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #first: Uint8Array[] = [];

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#chunks = input[Symbol.asyncIterator]();
  }

  async head(): Promise<Buffer> {
    for (let length = 0; length < magicLength;) {
      const { value, done } = await this.#chunks.next();
      if (done === true) break;
      this.#first.push(value);
      length += value.byteLength;
    }
    return Buffer.concat(this.#first);
  }

  async *whole(): AsyncGenerator<Uint8Array> {
    yield* this.#first.splice(0);
    for (;;) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return;
      yield value;
    }
  }

  /** Lets go of the input, read or not. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Takes gzip or zstd off a stream, or nothing where it is not compressed. Memory is bounded whatever the content unpacks to;
 * whoever stores what comes out bounds that.
 * @param what names the content, for messages
 * @throws AirliftError `unsupported` where the compression is one that is not read; the content itself fails with `damaged`
 *   where it is truncated or corrupt
 */
export async function decompress(input: AsyncIterable<Uint8Array>, what: string): Promise<Decompressed> {
  const peeked = new Peeked(input);
  let compression: Compression;
  try {
    compression = tellCompression(await peeked.head(), what);
  } catch (error) {
    await peeked.close();
    throw error;
  }
  const plain = (same: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> => same;
  const unpack = { gzip: gunzip, zstd: unzstd, none: plain }[compression];
  const content = Readable.from(unpack(peeked.whole(), what), { objectMode: false });
  // The input is let go of even where the content is closed before anybody read from it.
  content.once('close', () => void peeked.close().catch(() => undefined));
  return { compression, content };
}

import { Readable } from 'node:stream';
import { gunzip } from './gunzip.js';
import { unzstd } from './zstd-reader.js';
import { AirliftError } from '../../errors.js';

/** A compression that airlift reads. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** A format that airlift recognises but does not read. */
interface ForeignFormat {
  readonly name: string;
  /** The command that decompresses it to standard output, without the file name; undefined where no such command exists. */
  readonly command?: string;
}

/** First bytes needed to recognise every format. */
export const magicLength = 10;

const foreign: readonly (readonly [magic: string, format: ForeignFormat])[] = [
  ['425a68', { name: 'bzip2', command: 'bzip2 -dc' }],
  ['fd377a585a00', { name: 'xz', command: 'xz -dc' }],
  ['04224d18', { name: 'lz4', command: 'lz4 -dc' }],
  ['02214c18', { name: 'lz4 (legacy frames)', command: 'lz4 -dc' }],
  ['4c5a4950', { name: 'lzip', command: 'lzip -dc' }],
  ['894c5a4f000d0a1a0a', { name: 'lzop', command: 'lzop -dc' }],
  ['1f9d', { name: 'compress (.Z)', command: 'gzip -dc' }],
  ['1fa0', { name: 'compress (.Z)', command: 'gzip -dc' }],
  ['5d0000', { name: 'lzma', command: 'xz --format=lzma -dc' }],
  ['504b0304', { name: 'zip', command: 'unzip -p' }],
  ['377abcaf271c', { name: '7z', command: '7z x -so' }],
  ['526172211a07', { name: 'rar' }],
  ['68737173', { name: 'squashfs' }],
  ['514649fb', { name: 'qcow2' }],
  ['7f454c46', { name: 'ELF (a program)' }],
];

/** Detects the compression or a foreign format by the first bytes (at least `magicLength` unless the content is shorter). */
function detectFormat(head: Uint8Array): Compression | ForeignFormat {
  const hex = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, magicLength)).toString(
    'hex',
  );
  if (hex.startsWith('1f8b')) return 'gzip';
  if (hex.startsWith('28b52ffd') || /^5.2a4d18/.test(hex)) return 'zstd';
  for (const [magic, format] of foreign) if (hex.startsWith(magic)) return format;
  return 'none';
}

/** Decompressed content. */
export interface Decompressed {
  /** The compression that the first bytes showed. */
  readonly compression: Compression;
  readonly content: Readable;
}

function refusal(format: ForeignFormat, what: string): AirliftError {
  const hint =
    format.command === undefined
      ? undefined
      : `unpack it first: ${format.command} FILE > FILE.tar, or pipe that into airlift with - instead of FILE`;
  return new AirliftError(
    'unsupported',
    `read ${what}: unsupported format; got ${format.name}, want a tar archive, plain or compressed with gzip or zstd`,
    { hint },
  );
}

/**
 * Detects the compression of content by its first bytes.
 * @param what names the content in messages
 * @throws AirliftError `unsupported` where it is a foreign format
 */
export function detectCompression(head: Uint8Array, what: string): Compression {
  const format = detectFormat(head);
  if (typeof format !== 'string') throw refusal(format, what);
  return format;
}

/** A stream whose first bytes can be inspected before it is read. */
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

  /** Closes the input, read or not. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Decompresses gzip or zstd; other content passes unchanged. Memory is bounded, the size of the output is not: the caller limits it.
 * @param what names the content in messages
 * @throws AirliftError `unsupported` where it is a foreign format; the content itself fails with `damaged` where it is truncated or
 *   corrupt
 */
export async function decompress(input: AsyncIterable<Uint8Array>, what: string): Promise<Decompressed> {
  const peeked = new Peeked(input);
  let compression: Compression;
  try {
    compression = detectCompression(await peeked.head(), what);
  } catch (error) {
    await peeked.close();
    throw error;
  }
  const plain = (same: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> => same;
  const unpack = { gzip: gunzip, zstd: unzstd, none: plain }[compression];
  const content = Readable.from(unpack(peeked.whole(), what), { objectMode: false });
  // This closes the input even if the content is closed before the first read.
  content.once('close', () => void peeked.close().catch(() => undefined));
  return { compression, content };
}

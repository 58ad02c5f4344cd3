import { Readable } from 'node:stream';
import { createGunzip, type Gunzip } from 'node:zlib';
import { unzstd } from './zstd-reader.js';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

/** How content is compressed, as far as airlift reads it. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** A format that is known by its first bytes but not read, and what turns it into one that is. */
export interface ForeignFormat {
  readonly name: string;
  /** The command that unpacks it to standard output, without the file's name; missing where there is no such command. */
  readonly command?: string;
}

/** As many first bytes as it takes to tell any format here. */
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

/** Tells the compression, or a format that is not read, by the first bytes (at least `magicLength` where there are as many). */
export function tellFormat(head: Uint8Array): Compression | ForeignFormat {
  const hex = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, magicLength)).toString(
    'hex',
  );
  if (hex.startsWith('1f8b')) return 'gzip';
  if (hex.startsWith('28b52ffd') || /^5.2a4d18/.test(hex)) return 'zstd';
  for (const [magic, format] of foreign) if (hex.startsWith(magic)) return format;
  return 'none';
}

/** Three times the speed of the default of 16 KiB. */
const chunkSize = 1024 * 1024;

function gzipError(error: unknown, taken: number, what: string): unknown {
  const code = systemCodeOf(error);
  if (code === undefined || !code.startsWith('Z_')) return error;
  const truncated = code === 'Z_BUF_ERROR';
  const happened = truncated
    ? `truncated after ${taken} bytes of gzip`
    : `corrupt before byte ${taken} of gzip: ${messageOf(error)}`;
  return new AirliftError('damaged', `decompress ${what}: ${happened}`, {
    cause: error,
    hint: truncated
      ? 'the file is incomplete: copy or download it again'
      : 'the file is damaged: copy or download it again',
  });
}

/** Writes to the engine and waits until it took the chunk, or is closed. */
class Feeder {
  #wake: () => void = () => undefined;
  #taken = 0;

  constructor(
    private readonly engine: Gunzip,
    private readonly what: string,
  ) {
    engine.once('close', () => this.#wake());
  }

  get taken(): number {
    return this.#taken;
  }

  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of input) {
      const before = this.#taken;
      this.#taken += chunk.byteLength;
      // Once the engine has met zeros after a member it takes nothing more.
      if (this.engine.bytesWritten === before) await this.#write(chunk);
      if (this.engine.destroyed && this.engine.errored !== null) return;
      const rest = Math.min(chunk.byteLength, this.#taken - this.engine.bytesWritten);
      if (!chunk.subarray(chunk.byteLength - rest).every((byte) => byte === 0)) {
        throw new AirliftError(
          'damaged',
          `decompress ${this.what}: unexpected content after ${this.engine.bytesWritten} bytes of gzip`,
          { hint: 'the file is damaged: copy or download it again' },
        );
      }
    }
    this.engine.end();
  }

  async #write(chunk: Uint8Array): Promise<void> {
    if (this.engine.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.engine.write(chunk, () => resolve());
    });
  }
}

/**
 * Unpacks gzip (RFC 1952) of any number of members. Zeros may follow them, as on tapes; anything else may not.
 * @param what names the content, for messages
 * @throws AirliftError `damaged` where the input is truncated or corrupt
 */
export async function* gunzip(input: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const engine = createGunzip({ chunkSize });
  const feeder = new Feeder(engine, what);
  feeder.feed(input).catch((error: unknown) => engine.destroy(error as Error));
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    throw gzipError(error, feeder.taken, what);
  } finally {
    engine.destroy();
  }
}

/** Content with its compression taken off. */
export interface Decompressed {
  /** What the content was compressed with, told by its first bytes. */
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

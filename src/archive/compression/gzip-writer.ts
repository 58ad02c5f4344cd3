import { constants, crc32, createGzip, type Gzip, type ZlibReset } from 'node:zlib';
import { AirliftError } from '../../errors.js';
import { compressBlocks, compressionThreads, type CompressionOptions } from './compress-blocks.js';

/** The most bytes of content in a gzip member: 1 MiB members are 0.2 % larger than a single member, and keep a thread busy long enough. */
const blockSize = 1024 * 1024;

/** Bytes of content that are either deflated or stored as a whole. */
const pieceSize = 128 * 1024;

/**
 * Measured on 200 MB of executables and libraries, per core: level 1 compresses to 37.7 % at 133 MB/s, level 4 to 35.6 % at 88 MB/s,
 * level 6 to 34.6 % at 53 MB/s. libdeflate in WebAssembly is a quarter faster than level 1, but its package has one release and one
 * author, and the content of registries depends on it for years.
 */
const defaultLevel = 1;

/** The largest memory level of zlib: with it, level 1 is 12 % faster than with the default of 8. */
const memLevel = 9;

/** Bytes of a piece that are counted, evenly distributed. */
const samples = 4096;

/**
 * How much more uneven than random bytes a piece may be that counts as random: at 1.5, libraries take 20 % less time than if nothing were
 * stored, and 1 % more space.
 */
const tolerance = 1.5;

/**
 * Reports whether a piece looks random, as compressed content does: its sampled bytes are about equally frequent. Deflating such content
 * takes the longest and saves nothing; counting takes a fiftieth of that time.
 */
function looksRandom(piece: Uint8Array): boolean {
  const counts = new Uint32Array(256);
  const size = piece.byteLength;
  const step = Math.ceil(size / samples);
  for (let at = 0; at < size; at += step) counts[piece[at] as number]!++;
  const sampled = Math.ceil(size / step);
  let squares = 0;
  for (const count of counts) squares += count * count;
  // For random bytes the sum is about n²/256 + n; for text it is ten times as much.
  return squares < tolerance * sampled * (sampled / 256 + 1);
}

/** Cuts a block into runs of pieces that look random and runs that do not. */
function* runsOf(block: Buffer): Generator<{ readonly bytes: Buffer; readonly isRandom: boolean }> {
  let start = 0;
  let isRandom = looksRandom(block.subarray(0, pieceSize));
  for (let at = pieceSize; at < block.byteLength; at += pieceSize) {
    const isNext = looksRandom(block.subarray(at, at + pieceSize));
    if (isNext === isRandom) continue;
    yield { bytes: block.subarray(start, at), isRandom };
    start = at;
    isRandom = isNext;
  }
  yield { bytes: block.subarray(start), isRandom };
}

/** The position of the operating system in the header of a member (RFC 1952, section 2.3), and its value for an unknown one. */
const system = { at: 9, unknown: 255 } as const;

/**
 * Bytes of each piece of memory for output. All have the same size, so that new ones fit into the place of those that were freed: pieces
 * as long as their content leave gaps of 40 MB between them.
 */
const pieceOfOutput = 256 * 1024;

/** Memory for output that is not deflated. */
class OutputPieces {
  #piece = Buffer.alloc(0);

  /** Copies bytes to the end of the output. All that is in one piece is one chunk. */
  append(bytes: Uint8Array, output: Buffer[]): void {
    for (let at = 0; at < bytes.byteLength;) {
      if (this.#piece.byteLength === 0) this.#piece = Buffer.allocUnsafeSlow(pieceOfOutput);
      const part = bytes.subarray(at, at + this.#piece.byteLength);
      this.#piece.set(part);
      const last = output.at(-1);
      const isAfter = last?.buffer === this.#piece.buffer;
      const start = isAfter ? last.byteOffset : this.#piece.byteOffset;
      const end = this.#piece.byteOffset + part.byteLength;
      if (isAfter) output.pop();
      output.push(Buffer.from(this.#piece.buffer, start, end - start));
      this.#piece = this.#piece.subarray(part.byteLength);
      at += part.byteLength;
    }
  }
}

/** The most bytes of a stored block (RFC 1951, section 3.2.4), and the fewest that zlib puts into any but the last. */
const storedSize = 65_535;
const worthyStored = 32 * 1024;

/**
 * Compresses gzip members (RFC 1952), one at a time, with neither time nor operating system in their headers. One stream of zlib makes all
 * of them, because a new one takes hundreds of kilobytes until it is collected.
 */
class MemberEncoder {
  readonly #gzip: Gzip & ZlibReset;
  readonly #pieces = new OutputPieces();
  #deflated: Buffer[] = [];

  constructor(level: number) {
    const options = { level, memLevel, chunkSize: pieceOfOutput, flush: constants.Z_FINISH };
    this.#gzip = createGzip(options) as Gzip & ZlibReset;
    this.#gzip.on('data', (chunk: Buffer) => this.#deflated.push(chunk));
    // Each error is also passed to the callback of the write.
    this.#gzip.on('error', () => undefined);
  }

  async deflate(content: Buffer): Promise<readonly Buffer[]> {
    const output: Buffer[] = [];
    this.#deflated = output;
    await new Promise<void>((resolve, reject) => {
      this.#gzip.write(content, (error) => (error ? reject(error) : resolve()));
    });
    this.#gzip.reset();
    checkMember(output, content.byteLength);
    setSystem(output);
    return output;
  }

  /** Stores content. Gives the same bytes as a stream of zlib at level 0, without its round trips to the pool. */
  store(content: Buffer): readonly Buffer[] {
    const output: Buffer[] = [];
    const append = (bytes: Uint8Array): void => this.#pieces.append(bytes, output);
    // Deflate; no flags and no time; the fastest algorithm.
    append(Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, system.unknown));
    for (let at = 0, isLast = false; !isLast; at += storedSize) {
      const part = content.subarray(at, at + storedSize);
      const length = part.byteLength;
      isLast = length < worthyStored;
      append(Uint8Array.of(isLast ? 1 : 0, length, length >> 8, ~length, ~length >> 8));
      append(part);
    }
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(crc32(content), 0);
    trailer.writeUInt32LE(content.byteLength, 4);
    append(trailer);
    return output;
  }
}

/**
 * Checks that chunks begin and end as one member does: with the magic number and with the size of the content (RFC 1952, section 2.3). If
 * the stream emitted a chunk after its write has ended, both that member and the next one would be wrong.
 * @throws AirliftError `io`
 */
function checkMember(member: readonly Buffer[], size: number): void {
  const end = Buffer.concat(member.slice(-2).map((chunk) => chunk.subarray(-4))).subarray(-4);
  if (member[0]?.[0] === 0x1f && end.byteLength === 4 && end.readUInt32LE() === size) return;
  throw new AirliftError('io', 'compress gzip: zlib gave an incomplete member', {
    hint: 'this is a bug in airlift or Node.js: try another version of Node.js',
  });
}

/** Sets the operating system in the header of a member. */
function setSystem(member: readonly Buffer[]): void {
  let at: number = system.at;
  for (const chunk of member) {
    if (at < chunk.byteLength) {
      chunk[at] = system.unknown;
      return;
    }
    at -= chunk.byteLength;
  }
}

/** Encoders that wait for their next member, by level. */
const idle = new Map<number, MemberEncoder[]>();

/** Compresses a block into gzip members, one for each of its runs. */
async function membersOf(block: Buffer, level: number): Promise<readonly Buffer[]> {
  const encoders = idle.get(level) ?? [];
  idle.set(level, encoders);
  const encoder = encoders.pop() ?? new MemberEncoder(level);
  const chunks: Buffer[] = [];
  for (const { bytes, isRandom } of runsOf(block)) {
    chunks.push(...(isRandom ? encoder.store(bytes) : await encoder.deflate(bytes)));
  }
  encoders.push(encoder);
  return chunks;
}

/**
 * Compresses content into gzip members of at most 1 MiB of content each, in the threads of Node's pool. Members of content that looks
 * random are stored, not deflated. The bytes depend only on the content, the level and the zlib inside Node.
 */
export function gzipMembers(
  source: AsyncIterable<Buffer>,
  { level = defaultLevel, concurrency = 2 * compressionThreads, room }: CompressionOptions = {},
): AsyncGenerator<Buffer> {
  return compressBlocks(source, { size: blockSize, concurrency, room }, (block) => membersOf(block, level));
}

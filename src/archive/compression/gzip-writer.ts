import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { compressBlocks, compressionThreads, type CompressionOptions } from './compress-blocks.js';

const compressBlock = promisify(gzip);

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
  const step = Math.ceil(piece.byteLength / samples);
  let sampled = 0;
  for (let at = 0; at < piece.byteLength; at += step, sampled++) {
    const byte = piece[at] ?? 0;
    counts[byte] = (counts[byte] ?? 0) + 1;
  }
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

/** Compresses one gzip member (RFC 1952), with neither time nor operating system in its header. */
async function member(content: Buffer, level: number): Promise<Buffer> {
  const chunkSize = content.byteLength + (content.byteLength >> 10) + 128;
  const bytes = await compressBlock(content, { level, memLevel, chunkSize });
  bytes[9] = 255;
  return bytes;
}

/**
 * Compresses content into gzip members of at most 1 MiB of content each, in the threads of Node's pool. Members of content that looks
 * random are stored, not deflated. The bytes depend only on the content, the level and the zlib inside Node.
 */
export function gzipMembers(
  source: AsyncIterable<Buffer>,
  { level = defaultLevel, concurrency = 2 * compressionThreads }: CompressionOptions = {},
): AsyncGenerator<Buffer> {
  return compressBlocks(source, { size: blockSize, concurrency }, (block) =>
    Promise.all([...runsOf(block)].map(({ bytes, isRandom }) => member(bytes, isRandom ? 0 : level))),
  );
}

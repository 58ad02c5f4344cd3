/** Writes gzip and zstd streams with uncompressed blocks: fast, and the same bytes with every Node version. */
import { crc32 } from 'node:zlib';

const gzipHead = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
const longest = 65_535;

/** Turns chunks into a gzip stream (RFC 1952) of stored deflate blocks (RFC 1951, 3.2.4). */
export function* storedGzip(chunks: Iterable<Uint8Array>): Generator<Buffer> {
  yield gzipHead;
  let crc = 0;
  let size = 0;
  for (const chunk of chunks) {
    crc = crc32(chunk, crc);
    size += chunk.length;
    const blocks = Math.ceil(chunk.length / longest);
    const out = Buffer.allocUnsafe(chunk.length + blocks * 5);
    let at = 0;
    for (let from = 0; from < chunk.length; from += longest) {
      const block = chunk.subarray(from, from + longest);
      out[at] = 0;
      out.writeUInt16LE(block.length, at + 1);
      out.writeUInt16LE(~block.length & 0xffff, at + 3);
      out.set(block, at + 5);
      at += 5 + block.length;
    }
    yield out;
  }
  const tail = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
  tail.writeUInt32LE(crc >>> 0, 5);
  tail.writeUInt32LE(size % 2 ** 32, 9);
  yield tail;
}

/** Returns a zstd frame (RFC 8878) of raw blocks, with the content's size in its header. */
export function storedZstd(content: Uint8Array): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32LE(0xfd2fb528, 0);
  head[4] = 0xe0;
  head.writeBigUInt64LE(BigInt(content.length), 5);
  const most = 128 * 1024;
  const parts: Uint8Array[] = [head];
  for (let from = 0; from === 0 || from < content.length; from += most) {
    const block = content.subarray(from, from + most);
    const last = from + most >= content.length ? 1 : 0;
    const blockHead = Buffer.alloc(3);
    blockHead.writeUIntLE((block.length << 3) | last, 0, 3);
    parts.push(blockHead, block);
  }
  return Buffer.concat(parts);
}

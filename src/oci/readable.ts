import { Readable } from 'node:stream';

/** Content in memory as a stream, from the byte at `offset` on. */
export function readableOf(bytes: Buffer, offset = 0): Readable {
  return Readable.from(offset < bytes.byteLength ? [bytes.subarray(offset)] : [], { objectMode: false });
}

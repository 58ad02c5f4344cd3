import { Readable } from 'node:stream';

/** Returns a stream of content in memory, starting at byte `offset`. */
export function readableOf(bytes: Buffer, offset = 0): Readable {
  return Readable.from(offset < bytes.byteLength ? [bytes.subarray(offset)] : [], { objectMode: false });
}

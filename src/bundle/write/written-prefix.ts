import type { BundleFile } from '../format/file.js';

const chunkSize = 1024 * 1024;
const zeros = Buffer.alloc(chunkSize);

/**
 * How much of a region that was written from its begin on holds anything: bytes up to the last one that is not zero. Holes of
 * a sparse file read as zeros.
 */
export function writtenPrefix(file: BundleFile, position: number, length: number): number {
  const chunk = Buffer.allocUnsafe(chunkSize);
  for (let end = length; end > 0;) {
    const begin = Math.max(0, end - chunkSize);
    const count = file.readSync(chunk.subarray(0, end - begin), position + begin);
    if (chunk.compare(zeros, 0, count, 0, count) !== 0) {
      let last = count;
      while (chunk[last - 1] === 0) last--;
      return begin + last;
    }
    end = begin;
  }
  return 0;
}

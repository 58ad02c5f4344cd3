import { createHash } from 'node:crypto';
import type { DigestAlgorithm } from '../../oci/digest.js';
import type { BundleFile } from '../format/file.js';

/** A range of the bundle to hash. */
export interface HashTask {
  readonly id: number;
  readonly position: number;
  readonly size: number;
  readonly algorithm: DigestAlgorithm;
}

export interface HashResult {
  readonly id: number;
  readonly hex: string;
  /** Bytes hashed; fewer than the range has if the file ends before. */
  readonly bytes: number;
}

/** Bytes read and hashed at a time. */
export const chunkSize = 1024 * 1024;
/** Bytes between two reports of progress. */
const progressBytes = 16 * chunkSize;

/**
 * Hashes a range of the file.
 * @param chunk memory to read into, of `chunkSize` bytes or as many as the largest range
 * @param onProgress called during a large range with the bytes hashed since the last call
 * @throws AirliftError `io`
 */
export function hashRange(
  file: BundleFile,
  { id, position, size, algorithm }: HashTask,
  chunk: Buffer,
  onProgress: (bytes: number) => void,
): HashResult {
  const hash = createHash(algorithm);
  let bytes = 0;
  for (let reported = 0; bytes < size;) {
    const want = Math.min(chunk.byteLength, size - bytes);
    const count = file.readSync(chunk.subarray(0, want), position + bytes);
    hash.update(chunk.subarray(0, count));
    bytes += count;
    if (count < want) break;
    if (bytes - reported < progressBytes || bytes === size) continue;
    onProgress(bytes - reported);
    reported = bytes;
  }
  return { id, hex: hash.digest('hex'), bytes };
}

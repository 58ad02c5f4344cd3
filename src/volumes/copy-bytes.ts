import { createHash } from 'node:crypto';
import type { BundleFile } from '../bundle/format/file.js';
import { AirliftError, checkInterrupted } from '../errors.js';
import type { Digest } from '../oci/digest.js';

/** Bytes read, hashed and written at a time. */
const chunkSize = 1024 * 1024;

/** Progress of copying or hashing. */
export interface CopyProgress {
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface CopyBytesOptions {
  /** Sizes of the volumes, whose sum is the number of bytes to copy. */
  readonly sizes: readonly number[];
  /** The name of the work in messages. */
  readonly doing: string;
  /** Called at the end of each volume with its digest. */
  readonly onVolume?: ((number: number, digest: Digest) => void) | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Copies a bundle from its start to its end, and hashes every byte on the way: for its volume and for the whole. Bytes that an earlier run
 * wrote are read and compared, and not written again.
 * @returns the digest of the whole
 * @throws AirliftError `damaged` if the source ends early; `no-space`, `io`, `interrupted`
 */
export async function copyBytes(
  from: BundleFile,
  to: BundleFile,
  { sizes, doing, onVolume, onProgress, signal }: CopyBytesOptions,
): Promise<Digest> {
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  const { size: written } = await to.stat();
  const whole = createHash('sha256');
  const chunk = Buffer.allocUnsafe(chunkSize);
  const before = Buffer.allocUnsafe(chunkSize);
  let position = 0;
  for (const [at, size] of sizes.entries()) {
    const volume = createHash('sha256');
    for (const end = position + size; position < end;) {
      checkInterrupted(signal, doing);
      const bytes = chunk.subarray(0, Math.min(chunkSize, end - position));
      const count = from.readSync(bytes, position);
      if (count < bytes.byteLength) {
        throw new AirliftError(
          'damaged',
          `${doing}: ${from.path} ends early; got ${position + count} bytes, want ${totalBytes}`,
        );
      }
      whole.update(bytes);
      volume.update(bytes);
      if (position >= written || !holds(to, bytes, position, before)) to.writevSync([bytes], position);
      position += bytes.byteLength;
      onProgress?.({ bytes: position, totalBytes });
      // Lets signals and timers through.
      await new Promise(setImmediate);
    }
    onVolume?.(at + 1, `sha256:${volume.digest('hex')}` as Digest);
  }
  return `sha256:${whole.digest('hex')}` as Digest;
}

/** Reports whether a file holds these bytes. */
function holds(file: BundleFile, bytes: Buffer, position: number, buffer: Buffer): boolean {
  const found = buffer.subarray(0, bytes.byteLength);
  return file.readSync(found, position) === bytes.byteLength && found.equals(bytes);
}

import { checkInterrupted, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';

/** The part of a blob that an interrupted run wrote. */
export interface Written {
  /** The number of bytes that should be present. */
  readonly have: number;
  /** Digests of prefixes, recorded when they were written, shortest first. */
  readonly checkpoints?: readonly { readonly bytes: number; readonly digest: Uint8Array }[] | undefined;
}

/**
 * Hashes the bytes that an interrupted run wrote and decides where to resume: after all of them if they are the whole blob, else
 * after the last of the first checkpoints that all match. Without checkpoints it resumes after all of them, and the digest of the
 * whole blob must prove them in the end.
 * @param read reads the first `length` bytes
 * @returns a verifier that has seen the bytes to keep
 */
export async function verifyWritten(
  { digest, size }: Descriptor,
  { have, checkpoints = [] }: Written,
  read: (length: number) => AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<Verifier> {
  const length = Math.min(have, size);
  let verifier = new Verifier(digest, size);
  if (length === 0) return verifier;
  let confirmed = verifier.clone();
  const ahead = checkpoints.filter(({ bytes }) => bytes <= length);
  for await (const chunk of read(length)) {
    checkInterrupted(signal, 'read the partial blob');
    let rest = chunk;
    for (let next = ahead[0]; next !== undefined; next = ahead[0]) {
      const left = next.bytes - verifier.bytes;
      if (left > rest.length) break;
      verifier.update(rest.subarray(0, left));
      rest = rest.subarray(left);
      if (!verifier.soFar().equals(next.digest)) return confirmed;
      confirmed = verifier.clone();
      ahead.shift();
    }
    verifier.update(rest);
  }
  if (verifier.bytes === size && isCorrect(verifier)) return verifier;
  if (checkpoints.length > 0) verifier = confirmed;
  return verifier.bytes === size ? new Verifier(digest, size) : verifier;
}

function isCorrect(verifier: Verifier): boolean {
  try {
    verifier.clone().end();
    return true;
  } catch (error) {
    if (isAirliftError(error, 'digest-mismatch')) return false;
    throw error;
  }
}

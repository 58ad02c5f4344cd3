import type { Readable } from 'node:stream';
import { checkInterrupted, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';

/** What an interrupted run left of a blob. */
export interface Written {
  /** Its first bytes that are thought to be written. */
  readonly have: number;
  /** Digests of its first bytes when they were written, from the shortest on. */
  readonly checkpoints?: readonly { readonly bytes: number; readonly digest: Uint8Array }[] | undefined;
}

/**
 * Hashes what an interrupted run left, and finds out how much of it to go on from: all where that is the whole blob, else
 * what the last checkpoint in a row of right ones says. Without checkpoints it is all of it, which the digest of the whole
 * must prove in the end.
 * @param read gives the first so many bytes
 */
export async function verifyWritten(
  { digest, size }: Descriptor,
  { have, checkpoints = [] }: Written,
  read: (length: number) => Readable,
  signal: AbortSignal | undefined,
): Promise<Verifier> {
  const length = Math.min(have, size);
  let verifier = new Verifier(digest, size);
  if (length === 0) return verifier;
  let proven = verifier.clone();
  const ahead = checkpoints.filter(({ bytes }) => bytes <= length);
  for await (const chunk of read(length) as AsyncIterable<Buffer>) {
    checkInterrupted(signal, 'read what is written');
    let rest = chunk;
    for (let next = ahead[0]; next !== undefined; next = ahead[0]) {
      const left = next.bytes - verifier.bytes;
      if (left > rest.length) break;
      verifier.update(rest.subarray(0, left));
      rest = rest.subarray(left);
      if (!verifier.soFar().equals(next.digest)) return proven;
      proven = verifier.clone();
      ahead.shift();
    }
    verifier.update(rest);
  }
  if (verifier.bytes === size && isRight(verifier)) return verifier;
  if (checkpoints.length > 0) verifier = proven;
  return verifier.bytes === size ? new Verifier(digest, size) : verifier;
}

function isRight(verifier: Verifier): boolean {
  try {
    verifier.clone().end();
    return true;
  } catch (error) {
    if (isAirliftError(error, 'digest-mismatch')) return false;
    throw error;
  }
}

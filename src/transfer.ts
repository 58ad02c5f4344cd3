import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirliftError, isAirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import { Verifier } from './oci/digest.js';
import type { Fetches } from './oci/read.js';
import type { Repository } from './oci/reference.js';

/** Bytes gathered before they are written: fewer, larger writes cost half the time of one per network chunk. */
const writeSize = 256 * 1024;

/** Where a blob's content goes: a place of its own, written front to back. */
export interface Place {
  /** Writes chunks one after another, beginning `offset` bytes into the blob. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  /** Reads back the first `length` bytes, to hash what an interrupted run left. */
  read(length: number): Readable;
}

export interface TransferTask {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  /** Bytes that an earlier run is thought to have written; they are hashed, never trusted. */
  readonly have: number;
}

export interface TransferOptions {
  /** How often a broken stream is taken up again without any byte of progress between. */
  readonly retries: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes that are in place, after each write. */
  readonly onProgress: (bytes: number) => void;
}

/** Whether the rest of a blob may be asked for again after `error`. */
function isPassing(error: unknown): boolean {
  return (
    isAirliftError(error, 'network', 'rate-limited') ||
    (isAirliftError(error, 'registry') && (error.status ?? 0) >= 500)
  );
}

/** Whether the content that came was wrong, rather than its way. */
function isWrongContent(error: unknown): boolean {
  return isAirliftError(error, 'digest-mismatch', 'size-mismatch');
}

/** Hashes what an interrupted run left of the blob; undefined where it can't be a prefix of it. */
async function verifyPrefix(place: Place, { descriptor, have }: TransferTask): Promise<Verifier> {
  const verifier = new Verifier(descriptor.digest, descriptor.size);
  const length = Math.min(have, descriptor.size);
  if (length > 0)
    for await (const chunk of place.read(length) as AsyncIterable<Buffer>) verifier.update(chunk);
  return verifier;
}

async function receive(
  stream: Readable,
  verifier: Verifier,
  place: Place,
  onProgress: (bytes: number) => void,
): Promise<void> {
  let gathered: Uint8Array[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    if (size === 0) return;
    const chunks = gathered;
    const offset = verifier.bytes - size;
    gathered = [];
    size = 0;
    await place.write(chunks, offset);
    onProgress(verifier.bytes);
  };
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      verifier.update(chunk);
      gathered.push(chunk);
      size += chunk.byteLength;
      if (size >= writeSize) await flush();
    }
  } finally {
    // What arrived before a break is hashed already: it must be on disk too, or the rest would be asked from beyond it.
    await flush();
  }
}

/**
 * Brings a blob to its place: goes on behind what is there, takes up a broken stream where it broke, verifies all of it.
 * @throws AirliftError what the source throws when it is not passing or `retries` are used up; `digest-mismatch` or
 *   `size-mismatch` where the source gave wrong content twice
 */
export async function transferBlob(
  source: Fetches,
  place: Place,
  task: TransferTask,
  options: TransferOptions,
): Promise<void> {
  const { descriptor, repository } = task;
  const { signal, retries, onProgress } = options;
  let verifier = await verifyPrefix(place, task);
  /** The farthest that any try came: a server that breaks off at the same byte each time makes no progress. */
  let farthest = verifier.bytes;
  let failures = 0;
  let wrong = 0;
  for (;;) {
    const begun = verifier.bytes;
    try {
      if (verifier.bytes < descriptor.size || descriptor.size === 0) {
        const stream = await source.fetch(repository, descriptor, { offset: begun, signal });
        await receive(stream, verifier, place, onProgress);
      }
      verifier.end();
      onProgress(descriptor.size);
      return;
    } catch (error) {
      if (signal?.aborted === true)
        throw new AirliftError('interrupted', 'transfer: interrupted', { cause: error });
      const isShort = isAirliftError(error, 'size-mismatch') && verifier.bytes < descriptor.size;
      if (isAirliftError(error, 'unsupported') && begun > 0) {
        verifier = new Verifier(descriptor.digest, descriptor.size);
      } else if (isPassing(error) || isShort) {
        failures = verifier.bytes > farthest ? 1 : failures + 1;
        farthest = Math.max(farthest, verifier.bytes);
        if (failures > retries) throw error;
        await sleep(Math.min(30_000, 250 * 2 ** failures) * (0.5 + Math.random() / 2), undefined, { signal });
        // A hash can be ended once only, and a short body ended it.
        if (isShort) verifier = await verifyPrefix(place, { ...task, have: verifier.bytes });
      } else if (isWrongContent(error)) {
        // The first time, what an earlier run left may be at fault, or a byte that flipped on the way.
        wrong++;
        if (wrong > 1) throw error;
        verifier = new Verifier(descriptor.digest, descriptor.size);
      } else {
        throw error;
      }
    }
  }
}

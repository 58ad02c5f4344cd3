import { Readable } from 'node:stream';
import { BoundedMap } from '../bounded-map.js';
import { AirliftError } from '../errors.js';
import { Verifier, type Digest } from '../oci/digest.js';
import type { ContentState, OpenContent } from './store-content.js';

/** Bytes per read of a download, by the number of downloads under way: large reads are faster, and stalled clients hold about three. */
const largestChunk = 1024 * 1024;
const smallestChunk = 64 * 1024;
const chunkBudget = 32 * 1024 * 1024;
/** Blobs that are remembered as verified. */
const maxVerified = 65_536;
/** Milliseconds for which a file must be unchanged before its state is relied on: file times are exact to a few milliseconds only. */
const settledAfter = 2000;

/** Remembers which blobs were hashed, and in which state their files were, so that each is hashed once. */
export class VerifiedBlobs {
  readonly #states = new BoundedMap<Digest, string>(maxVerified);
  /** Downloads under way. */
  active = 0;

  has(digest: Digest, state: ContentState | undefined): boolean {
    return state !== undefined && this.#states.get(digest) === state.id;
  }

  add(digest: Digest, { id, changed }: ContentState): void {
    if (Date.now() - changed > settledAfter) this.#states.set(digest, id);
  }

  get chunkSize(): number {
    const share = Math.floor(chunkBudget / this.active / smallestChunk) * smallestChunk;
    return Math.max(smallestChunk, Math.min(largestChunk, share));
  }
}

/** The part of a blob to send. */
export interface BlobPart {
  readonly digest: Digest;
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Streams a blob or a part of it and checks it on the way. It holds back the last chunk until the content is known to be right: no client
 * receives wrong content completely. A whole blob is hashed, unless it was before and its file has not changed since. Fails with the errors
 * of reading and checking.
 */
export class CheckedStream extends Readable {
  #position: number;
  #held: Buffer | undefined;
  #state: ContentState | undefined;
  #verifier: Verifier | undefined;
  #hasBegun = false;
  #reading = Promise.resolve();

  constructor(
    private readonly content: OpenContent,
    private readonly part: BlobPart,
    private readonly verified: VerifiedBlobs,
  ) {
    // One chunk: reading ahead would only cost memory for stalled clients.
    super({ highWaterMark: 1 });
    this.#position = part.start;
    verified.active++;
  }

  override _read(): void {
    this.#reading = this.#next().then(
      (chunk) => void this.push(chunk),
      (error: unknown) => void this.destroy(error as Error),
    );
  }

  /** Closes the content after the read that is under way: the descriptor may be reused by then. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.verified.active--;
    this.#reading
      .then(() => this.content.close())
      .then(
        () => done(error),
        (closing: unknown) => done(error ?? (closing as Error)),
      );
  }

  /** Returns the next chunk to send; null at the end. */
  async #next(): Promise<Buffer | null> {
    if (!this.#hasBegun) await this.#begin();
    while (this.#position < this.part.end) {
      const chunk = await this.#read(this.#position, this.part.end);
      this.#position += chunk.length;
      this.#verifier?.update(chunk);
      const before = this.#held;
      this.#held = chunk;
      if (before !== undefined) return before;
    }
    if (this.#held === undefined) return null;
    await this.#check();
    const last = this.#held;
    this.#held = undefined;
    return last;
  }

  async #begin(): Promise<void> {
    this.#hasBegun = true;
    const { digest, size, start, end } = this.part;
    this.#state = await this.content.state?.();
    const isWhole = start === 0 && end === size;
    if (isWhole && !this.verified.has(digest, this.#state)) this.#verifier = new Verifier(digest, size);
  }

  async #read(position: number, end: number): Promise<Buffer> {
    const chunk = await this.content.read(position, Math.min(this.verified.chunkSize, end - position));
    if (chunk.length > 0) return chunk;
    throw new AirliftError('damaged', `serve blob: the file ends at byte ${position} of the blob`);
  }

  /** Checks everything that was read, before the last chunk is sent. */
  async #check(): Promise<void> {
    await this.content.check?.();
    const { digest } = this.part;
    const state = await this.content.state?.();
    const isUnchanged = state !== undefined && state.id === this.#state?.id;
    if (this.#verifier !== undefined) {
      this.#verifier.end();
      if (isUnchanged) this.verified.add(digest, state);
    } else if (!isUnchanged && this.verified.has(digest, this.#state)) {
      // Another program has touched the file, or written to it: only its bytes can tell.
      await this.#verifyFile();
    }
  }

  async #verifyFile(): Promise<void> {
    const { digest, size } = this.part;
    const verifier = new Verifier(digest, size);
    for (let position = 0; position < size;) {
      const chunk = await this.#read(position, size);
      verifier.update(chunk);
      position += chunk.length;
    }
    verifier.end();
  }
}

import { Readable } from 'node:stream';
import { AirliftError } from '../errors.js';
import type { Verifier } from '../oci/digest.js';
import type { OpenContent } from './store-content.js';

/** Bytes read at a time for one client: a client that stalls holds about three times as much in memory. */
const chunkSize = 64 * 1024;

/**
 * Streams a part of a blob and checks it on the way. With a verifier, which wants the whole blob, the last chunk is held back until
 * the digest is right: no client receives all of the promised bytes of wrong content. Fails with what reading and checking throw.
 */
export class CheckedStream extends Readable {
  #held: Buffer | undefined;

  constructor(
    private readonly content: OpenContent,
    private position: number,
    private readonly end: number,
    private readonly verifier: Verifier | undefined,
  ) {
    // One chunk: nothing is read ahead for a client that stalls.
    super({ highWaterMark: 1 });
  }

  override _read(): void {
    this.#next().then(
      (chunk) => this.push(chunk),
      (error: unknown) => this.destroy(error as Error),
    );
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.content.close().then(
      () => done(error),
      (closing: unknown) => done(error ?? (closing as Error)),
    );
  }

  /** Reads until there is a chunk to pass on; null at the end. */
  async #next(): Promise<Buffer | null> {
    while (this.position < this.end) {
      const chunk = await this.content.read(this.position, Math.min(chunkSize, this.end - this.position));
      if (chunk.length === 0)
        throw new AirliftError('damaged', `serve blob: the file ends at byte ${this.position} of the blob`);
      await this.content.check?.();
      this.position += chunk.length;
      if (this.verifier === undefined) return chunk;
      this.verifier.update(chunk);
      const before = this.#held;
      this.#held = chunk;
      if (before !== undefined) return before;
    }
    if (this.#held === undefined) return null;
    this.verifier?.end();
    const last = this.#held;
    this.#held = undefined;
    return last;
  }
}

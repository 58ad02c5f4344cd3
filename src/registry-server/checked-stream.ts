import { Readable } from 'node:stream';
import { AirliftError } from '../errors.js';
import type { Verifier } from '../oci/digest.js';
import type { OpenContent } from './store-content.js';

/** Bytes per read. A stalled client holds about three chunks in memory. */
const chunkSize = 64 * 1024;

/**
 * Streams a range of a blob and checks it on the way. With a verifier (for the whole blob) it holds back the last chunk until the digest is
 * verified: no client receives wrong content completely. Fails with the errors of reading and checking.
 */
export class CheckedStream extends Readable {
  #held: Buffer | undefined;
  #reading = Promise.resolve();

  constructor(
    private readonly content: OpenContent,
    private position: number,
    private readonly end: number,
    private readonly verifier: Verifier | undefined,
  ) {
    // One chunk: reading ahead would only cost memory for stalled clients.
    super({ highWaterMark: 1 });
  }

  override _read(): void {
    this.#reading = this.#next().then(
      (chunk) => void this.push(chunk),
      (error: unknown) => void this.destroy(error as Error),
    );
  }

  /** Closes the content after the read that is under way: the descriptor may be reused by then. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#reading
      .then(() => this.content.close())
      .then(
        () => done(error),
        (closing: unknown) => done(error ?? (closing as Error)),
      );
  }

  /** Returns the next chunk to send; null at the end. */
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

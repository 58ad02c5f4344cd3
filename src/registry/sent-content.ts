import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';
import type { OpenContent } from '../oci/target.js';
import type { SentContent } from './wire.js';

/** A whole blob, verified as it is sent. The last chunk is held back until all is known to be right: wrong content never ends. */
export function wholeContent(descriptor: Descriptor, open: OpenContent): SentContent {
  async function* read(): AsyncGenerator<Uint8Array> {
    const verifier = new Verifier(descriptor.digest, descriptor.size);
    let held: Uint8Array | undefined;
    for await (const chunk of (await open(0)) as AsyncIterable<Uint8Array>) {
      if (chunk.byteLength === 0) continue;
      verifier.update(chunk);
      if (held !== undefined) yield held;
      held = chunk;
    }
    verifier.end();
    if (held !== undefined) yield held;
  }
  return { size: descriptor.size, open: read };
}

/**
 * A blob that is sent piece by piece, read in one go where the pieces follow each other. What is read for the first time is
 * verified; `finish` says whether all of it is right.
 */
export class PiecewiseContent {
  readonly #verifier: Verifier;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  #rest: Uint8Array = new Uint8Array();
  #position = 0;

  constructor(
    readonly descriptor: Descriptor,
    readonly open: OpenContent,
  ) {
    this.#verifier = new Verifier(descriptor.digest, descriptor.size);
  }

  /** The `size` bytes from `offset` on. */
  piece(offset: number, size: number): SentContent {
    return { size, open: () => this.#read(offset, size) };
  }

  /**
   * Checks that everything was read and is what the descriptor says.
   * @throws AirliftError `digest-mismatch` or `size-mismatch`
   */
  async finish(): Promise<void> {
    // Content that is too long shows only now.
    for (let chunk = await this.#next(); chunk.byteLength > 0; chunk = await this.#next())
      this.#rest = new Uint8Array();
    this.#verifier.end();
  }

  /** Gives the content up, where it is open. */
  async close(): Promise<void> {
    const chunks = this.#chunks;
    this.#chunks = undefined;
    this.#rest = new Uint8Array();
    await chunks?.return?.();
  }

  async *#read(offset: number, size: number): AsyncGenerator<Uint8Array> {
    await this.#seek(offset);
    for (let left = size; left > 0;) {
      const chunk = await this.#next();
      if (chunk.byteLength === 0)
        throw new AirliftError(
          'size-mismatch',
          `read blob ${this.descriptor.digest}: content ended early; got ${this.#position} bytes, want ${this.descriptor.size}`,
        );
      const part = chunk.subarray(0, left);
      this.#rest = chunk.subarray(part.byteLength);
      this.#position += part.byteLength;
      left -= part.byteLength;
      yield part;
    }
  }

  async #seek(offset: number): Promise<void> {
    if (this.#chunks !== undefined && this.#position === offset) return;
    await this.close();
    const stream = await this.open(offset);
    this.#chunks = (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.#position = offset;
  }

  /** The next bytes, none at the end. */
  async #next(): Promise<Uint8Array> {
    while (this.#rest.byteLength === 0) {
      const next = await this.#chunks?.next();
      if (next === undefined || next.done === true) return new Uint8Array();
      this.#rest = next.value;
      const seen = this.#verifier.bytes - this.#position;
      if (seen < next.value.byteLength) this.#verifier.update(next.value.subarray(Math.max(0, seen)));
    }
    return this.#rest;
  }
}

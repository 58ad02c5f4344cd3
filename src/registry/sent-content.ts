import type { Readable } from 'node:stream';
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

/** A place in content that is open. */
interface Cursor {
  readonly stream: Readable;
  readonly chunks: AsyncIterator<Uint8Array>;
  /** What was read and not given out yet. */
  rest: Uint8Array;
  /** Offset of the first byte of `rest`. */
  position: number;
}

/**
 * A blob that is sent piece by piece, read in one go where the pieces follow each other. What is read for the first time is
 * verified; `finish` says whether all of it is right.
 */
export class PiecewiseContent {
  readonly #verifier: Verifier;
  #cursor: Cursor | undefined;

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
    const cursor = this.#cursor;
    // Content that is too long shows only now.
    if (cursor !== undefined) while ((await this.#fill(cursor)) > 0) cursor.rest = new Uint8Array();
    this.#verifier.end();
  }

  /** Gives the content up, where it is open. */
  close(): void {
    this.#cursor?.stream.on('error', () => undefined).destroy();
    this.#cursor = undefined;
  }

  /** A request that was given up may still be reading, so each reads from the cursor that it began with. */
  async *#read(offset: number, size: number): AsyncGenerator<Uint8Array> {
    const cursor = await this.#seek(offset);
    for (let left = size; left > 0;) {
      if ((await this.#fill(cursor)) === 0)
        throw new AirliftError(
          'size-mismatch',
          `read blob ${this.descriptor.digest}: content ended early; got ${cursor.position} bytes, want ${this.descriptor.size}`,
        );
      const part = cursor.rest.subarray(0, left);
      cursor.rest = cursor.rest.subarray(part.byteLength);
      cursor.position += part.byteLength;
      left -= part.byteLength;
      yield part;
    }
  }

  async #seek(offset: number): Promise<Cursor> {
    if (this.#cursor?.position === offset) return this.#cursor;
    this.close();
    const stream = await this.open(offset);
    const chunks = (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.#cursor = { stream, chunks, rest: new Uint8Array(), position: offset };
    return this.#cursor;
  }

  /** Reads on where nothing is left, and returns how many bytes there are: none at the end. */
  async #fill(cursor: Cursor): Promise<number> {
    while (cursor.rest.byteLength === 0) {
      const next = await cursor.chunks.next();
      if (next.done === true) return 0;
      cursor.rest = next.value;
      const seen = Math.max(0, this.#verifier.bytes - cursor.position);
      if (seen < next.value.byteLength) this.#verifier.update(next.value.subarray(seen));
    }
    return cursor.rest.byteLength;
  }
}

import type { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { Verifier } from '../../oci/digest.js';
import type { OpenContent } from '../../oci/target.js';
import type { SentContent } from '../http/wire.js';

/** Content that knows how much of it is still to be sent. */
export interface CountedContent extends SentContent {
  left(): number;
}

/** A whole blob, verified as it is sent. The last chunk is held back until all is known to be right: wrong content never ends. */
export function wholeContent(descriptor: Descriptor, open: OpenContent): CountedContent {
  let left = descriptor.size;
  async function* read(): AsyncGenerator<Uint8Array> {
    const verifier = new Verifier(descriptor.digest, descriptor.size);
    let held: Uint8Array | undefined;
    left = descriptor.size;
    for await (const chunk of (await open(0)) as AsyncIterable<Uint8Array>) {
      if (chunk.byteLength === 0) continue;
      verifier.update(chunk);
      left -= chunk.byteLength;
      if (held !== undefined) yield held;
      held = chunk;
    }
    verifier.end();
    if (held !== undefined) yield held;
  }
  return { size: descriptor.size, open: read, left: () => left };
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
  piece(offset: number, size: number): CountedContent {
    let left = size;
    const count = (bytes: number): void => void (left = bytes);
    return { size, open: () => this.#read(offset, size, count), left: () => left };
  }

  /**
   * Checks that everything was read and is what the descriptor says.
   * @throws AirliftError `digest-mismatch` or `size-mismatch`
   */
  async finish(): Promise<void> {
    // Where an earlier run has sent all of it, nothing was read yet.
    const cursor =
      this.#verifier.bytes < this.descriptor.size ? await this.#seek(this.descriptor.size) : this.#cursor;
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
  async *#read(offset: number, size: number, count: (left: number) => void): AsyncGenerator<Uint8Array> {
    const cursor = await this.#seek(offset);
    for (let left = size; left > 0;) {
      const part = await this.#take(cursor, left);
      left -= part.byteLength;
      count(left);
      yield part;
    }
  }

  /** The next bytes, at most so many. */
  async #take(cursor: Cursor, most: number): Promise<Uint8Array> {
    if ((await this.#fill(cursor)) === 0)
      throw new AirliftError(
        'size-mismatch',
        `read blob ${this.descriptor.digest}: content ended early; got ${cursor.position} bytes, want ${this.descriptor.size}`,
      );
    const part = cursor.rest.subarray(0, most);
    cursor.rest = cursor.rest.subarray(part.byteLength);
    cursor.position += part.byteLength;
    return part;
  }

  /** Goes to `offset`. What an earlier run has sent before it was not seen yet: it is read for the verifier. */
  async #seek(offset: number): Promise<Cursor> {
    if (this.#cursor?.position === offset) return this.#cursor;
    this.close();
    const begin = Math.min(offset, this.#verifier.bytes);
    const stream = await this.open(begin);
    const chunks = (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    const cursor: Cursor = { stream, chunks, rest: new Uint8Array(), position: begin };
    this.#cursor = cursor;
    while (cursor.position < offset) await this.#take(cursor, offset - cursor.position);
    return cursor;
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

/** What is left of a body that is sent to its end although the run is being stopped. */
const finishable = 32 * 1024 * 1024;

/** Milliseconds that it may take: whoever presses Ctrl-C waits for it. */
const patience = 700;

/** A signal for one request with content: an interruption breaks it off only where much is left to send, or it takes long. */
export interface LastChunk {
  readonly signal: AbortSignal | undefined;
  /** Stops listening. To be called when the request has ended. */
  end(): void;
}

/** @param left bytes that are still to be sent, asked when the interruption comes */
export function lastChunk(signal: AbortSignal | undefined, left: () => number): LastChunk {
  if (signal === undefined) return { signal, end: () => undefined };
  const stop = new AbortController();
  const breakOff = (): void => stop.abort(signal.reason);
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    if (left() > finishable) breakOff();
    else timer = setTimeout(breakOff, patience);
  };
  if (signal.aborted) breakOff();
  else signal.addEventListener('abort', onAbort, { once: true });
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  };
  return { signal: stop.signal, end };
}

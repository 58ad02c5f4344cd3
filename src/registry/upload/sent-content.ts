import type { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { Verifier } from '../../oci/digest.js';
import type { OpenContent } from '../../oci/target.js';
import type { SentContent } from '../http/wire.js';

/** Content that counts the bytes still to be sent. */
export interface CountedContent extends SentContent {
  left(): number;
}

/** Makes the content of a whole blob, verified while it is sent. The last chunk is held back until then: wrong content is never complete. */
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

/** A position in an open stream. */
interface Cursor {
  readonly stream: Readable;
  readonly chunks: AsyncIterator<Uint8Array>;
  /** Bytes that were read but not yet consumed. */
  rest: Uint8Array;
  /** Offset of the first byte of `rest`. */
  position: number;
}

/**
 * A blob that is sent in pieces. Consecutive pieces are read from one stream. Every byte is verified when it is first read; `finish` reports
 * the result.
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

  /** Returns the `size` bytes from `offset` on. */
  piece(offset: number, size: number): CountedContent {
    let left = size;
    const count = (bytes: number): void => void (left = bytes);
    return { size, open: () => this.#read(offset, size, count), left: () => left };
  }

  /**
   * Checks that all content was read and matches the descriptor.
   * @throws AirliftError `digest-mismatch` or `size-mismatch`
   */
  async finish(): Promise<void> {
    // If an earlier run has sent everything, nothing was read yet.
    const cursor =
      this.#verifier.bytes < this.descriptor.size ? await this.#seek(this.descriptor.size) : this.#cursor;
    // Content after the expected size is found only by reading to the end.
    if (cursor !== undefined) while ((await this.#fill(cursor)) > 0) cursor.rest = new Uint8Array();
    this.#verifier.end();
  }

  /** Closes the stream, if one is open. */
  close(): void {
    this.#cursor?.stream.on('error', () => undefined).destroy();
    this.#cursor = undefined;
  }

  /** Each request reads from its own cursor, because an abandoned request may still be reading. */
  async *#read(offset: number, size: number, count: (left: number) => void): AsyncGenerator<Uint8Array> {
    const cursor = await this.#seek(offset);
    for (let left = size; left > 0;) {
      const part = await this.#consume(cursor, left);
      left -= part.byteLength;
      count(left);
      yield part;
    }
  }

  /** Consumes the next bytes, at most `max`. */
  async #consume(cursor: Cursor, max: number): Promise<Uint8Array> {
    if ((await this.#fill(cursor)) === 0)
      throw new AirliftError(
        'size-mismatch',
        `read blob ${this.descriptor.digest}: content ended early; got ${cursor.position} bytes, want ${this.descriptor.size}`,
      );
    const part = cursor.rest.subarray(0, max);
    cursor.rest = cursor.rest.subarray(part.byteLength);
    cursor.position += part.byteLength;
    return part;
  }

  /** Moves to `offset`. Bytes before it that an earlier run has sent are read for verification only. */
  async #seek(offset: number): Promise<Cursor> {
    if (this.#cursor?.position === offset) return this.#cursor;
    this.close();
    const start = Math.min(offset, this.#verifier.bytes);
    const stream = await this.open(start);
    const chunks = (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    const cursor: Cursor = { stream, chunks, rest: new Uint8Array(), position: start };
    this.#cursor = cursor;
    while (cursor.position < offset) await this.#consume(cursor, offset - cursor.position);
    return cursor;
  }

  /** Reads the next chunk if none is left, and returns the number of unread bytes: 0 at the end. */
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

/** The most remaining bytes of a body that is sent completely although the run was interrupted. */
const finishable = 32 * 1024 * 1024;

/** Milliseconds that sending them may take: a user who pressed Ctrl-C waits for it. */
const finishTime = 700;

/** A signal for one request with content. */
export interface GracefulSignal {
  readonly signal: AbortSignal | undefined;
  /** Stops listening; call it when the request is over. */
  end(): void;
}

/**
 * Derives a signal for one request with content: an interruption aborts the request only if much is left to send, or it takes long.
 * @param left returns the bytes still to be sent
 */
export function gracefulSignal(signal: AbortSignal | undefined, left: () => number): GracefulSignal {
  if (signal === undefined) return { signal, end: () => undefined };
  const controller = new AbortController();
  const stop = (): void => controller.abort(signal.reason);
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    if (left() > finishable) stop();
    else timer = setTimeout(stop, finishTime);
  };
  if (signal.aborted) stop();
  else signal.addEventListener('abort', onAbort, { once: true });
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  };
  return { signal: controller.signal, end };
}

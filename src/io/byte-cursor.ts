import type { ByteRange } from './byte-range.js';

/** Bytes read forwards, with parts skipped. */
export interface ByteCursor {
  /** Bytes read and skipped so far. */
  readonly position: number;
  /** The next `length` bytes; fewer only at the end. */
  read(length: number): Promise<Buffer>;
  /** Passes over `length` bytes and says how many there were. */
  skip(length: number): Promise<number>;
}

/** Read at a time: a header and, where they are small, what lies around it. */
const ahead = 16 * 1024;

/** Goes through a range by position: what is skipped is not read. */
export class RangeCursor implements ByteCursor {
  #position = 0;
  #buffer: Buffer = Buffer.alloc(0);
  #bufferAt = 0;

  constructor(private readonly range: ByteRange) {}

  get position(): number {
    return this.#position;
  }

  async read(length: number): Promise<Buffer> {
    let within = this.#position - this.#bufferAt;
    if (within < 0 || within + length > this.#buffer.byteLength) {
      this.#buffer = await this.range.read(this.#position, Math.max(length, ahead));
      this.#bufferAt = this.#position;
      within = 0;
    }
    const bytes = this.#buffer.subarray(within, within + length);
    this.#position += bytes.byteLength;
    return bytes;
  }

  skip(length: number): Promise<number> {
    const skipped = Math.max(0, Math.min(length, this.range.size - this.#position));
    this.#position += skipped;
    return Promise.resolve(skipped);
  }
}

/** Goes through a stream. */
export class StreamCursor implements ByteCursor {
  #position = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  readonly #chunks: AsyncIterator<Uint8Array>;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  get position(): number {
    return this.#position;
  }

  async read(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length && (await this.#fill())) {
      const part = this.#take(length - filled);
      bytes.set(part, filled);
      filled += part.byteLength;
    }
    return bytes.subarray(0, filled);
  }

  async skip(length: number): Promise<number> {
    let skipped = 0;
    while (skipped < length && (await this.#fill())) skipped += this.#take(length - skipped).byteLength;
    return skipped;
  }

  async #fill(): Promise<boolean> {
    while (this.#chunk.byteLength === 0) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      this.#chunk = value;
    }
    return true;
  }

  #take(length: number): Uint8Array {
    const part = this.#chunk.subarray(0, length);
    this.#chunk = this.#chunk.subarray(part.byteLength);
    this.#position += part.byteLength;
    return part;
  }
}

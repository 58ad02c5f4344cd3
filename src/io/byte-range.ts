import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { AirliftError, messageOf } from '../errors.js';
import { readableOf } from '../oci/readable.js';
import { BufferRing } from './buffer-ring.js';

/** The place of content, as plain data for worker threads: in an open file, which stays open, in a file by its path, or in memory. */
export type Place =
  | { readonly fd: number; readonly start: number }
  | { readonly path: string }
  | { readonly bytes: Uint8Array };

/** Content with random access: a member of an archive, a file in a directory, a part of a scratch file. */
export interface ByteRange {
  /** Bytes. */
  readonly size: number;
  /**
   * Reads `length` bytes at `position`; fewer only at the end.
   * @param memory may be filled, to save new memory; holds at least `length` bytes
   */
  read(position: number, length: number, memory?: Buffer): Promise<Buffer>;
  /** Streams the content from `position` (default: 0) to the end. */
  stream(position?: number, options?: RangeStreamOptions): Readable;
}

export interface RangeStreamOptions {
  /** The reader is done with a chunk when it takes the next but one: the stream may then reuse the chunk's memory. */
  readonly reusesMemory?: boolean | undefined;
}

/** Content that a worker thread can read too. */
export interface PlacedRange extends ByteRange {
  readonly place: Place;
}

/** Bytes that a stream reads at a time. */
export const streamChunk = 256 * 1024;

function truncated(what: string, position: number, want: number): AirliftError {
  return new AirliftError('damaged', `read ${what}: truncated at byte ${position}; want ${want} more bytes`);
}

/** A part of an open file, which must stay open while the range is used. */
export class FileRange implements PlacedRange {
  /** @param what names the file in messages */
  constructor(
    private readonly file: FileHandle,
    private readonly start: number,
    readonly size: number,
    private readonly what: string,
  ) {}

  get place(): Place {
    return { fd: this.file.fd, start: this.start };
  }

  async read(position: number, length: number, memory?: Buffer): Promise<Buffer> {
    const wanted = Math.max(0, Math.min(length, this.size - position));
    const buffer = memory?.subarray(0, wanted) ?? Buffer.allocUnsafe(wanted);
    let filled = 0;
    while (filled < buffer.byteLength) {
      const at = this.start + position + filled;
      const { bytesRead } = await this.file
        .read(buffer, filled, buffer.byteLength - filled, at)
        .catch((cause: unknown) => {
          throw new AirliftError('io', `read ${this.what}: ${messageOf(cause)}`, { cause });
        });
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  stream(position = 0, { reusesMemory = false }: RangeStreamOptions = {}): Readable {
    // Holds one chunk at most, so that the next one is read when the reader takes it.
    return Readable.from(this.#chunks(position, reusesMemory), { objectMode: false, highWaterMark: 1 });
  }

  async *#chunks(position: number, reusesMemory: boolean): AsyncGenerator<Buffer> {
    const ring = reusesMemory ? new BufferRing() : undefined;
    for (let at = position; at < this.size;) {
      const length = Math.min(streamChunk, this.size - at);
      const chunk = await this.read(at, length, ring?.next(length));
      if (chunk.byteLength === 0) throw truncated(this.what, this.start + at, this.size - at);
      yield chunk;
      at += chunk.byteLength;
    }
  }

  /** Returns a part of this range. */
  part(start: number, size: number): FileRange {
    return new FileRange(this.file, this.start + start, size, this.what);
  }
}

/** A file by its path, which is open only while it is read. */
export class PathRange implements PlacedRange {
  constructor(
    private readonly path: string,
    readonly size: number,
  ) {}

  get place(): Place {
    return { path: this.path };
  }

  async read(position: number, length: number, memory?: Buffer): Promise<Buffer> {
    const file = await open(this.path).catch((cause: unknown) => {
      throw new AirliftError('io', `read ${this.path}: ${messageOf(cause)}`, { cause });
    });
    try {
      return await new FileRange(file, 0, this.size, this.path).read(position, length, memory);
    } finally {
      await file.close();
    }
  }

  stream(position = 0): Readable {
    return createReadStream(this.path, { start: position, highWaterMark: streamChunk });
  }
}

/** Content in memory. */
export class MemoryRange implements PlacedRange {
  constructor(private readonly bytes: Buffer) {}

  get size(): number {
    return this.bytes.byteLength;
  }

  get place(): Place {
    return { bytes: this.bytes };
  }

  read(position: number, length: number): Promise<Buffer> {
    return Promise.resolve(this.bytes.subarray(position, position + length));
  }

  stream(position = 0): Readable {
    return readableOf(this.bytes, position);
  }
}

/** Reads bytes forward and can skip some. */
export interface ByteCursor {
  /** Bytes read and skipped so far. */
  readonly position: number;
  /** Reads the next `length` bytes; fewer only at the end. */
  read(length: number): Promise<Buffer>;
  /** Skips `length` bytes and returns how many were skipped; fewer only at the end. */
  skip(length: number): Promise<number>;
}

/**
 * Reads content synchronously, for a worker thread.
 * @param memory returns where to put the next chunk, at least a byte long; without it every chunk has memory of its own
 * @param what names the content in messages
 * @throws AirliftError `io`, `damaged` where the file ends early
 */
export function* chunksOf(
  place: Place,
  size: number,
  what: string,
  memory?: () => Buffer,
): Generator<Buffer> {
  if ('bytes' in place) {
    yield Buffer.from(place.bytes.buffer, place.bytes.byteOffset, place.bytes.byteLength);
    return;
  }
  let opened: number | undefined;
  try {
    const fd = 'fd' in place ? place.fd : (opened = openSync(place.path, 'r'));
    const start = 'fd' in place ? place.start : 0;
    for (let at = 0; at < size;) {
      const length = Math.min(streamChunk, size - at);
      const into = memory?.().subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
      const count = readSync(fd, into, 0, into.byteLength, start + at);
      if (count === 0) throw truncated(what, start + at, size - at);
      yield into.subarray(0, count);
      at += count;
    }
  } catch (cause) {
    if (cause instanceof AirliftError) throw cause;
    throw new AirliftError('io', `read ${what}: ${messageOf(cause)}`, { cause });
  } finally {
    if (opened !== undefined) closeSync(opened);
  }
}

/**
 * Content that a worker thread reads synchronously: where small reads are far apart, each takes a fifth of the time of one in Node's pool.
 * Close it after use.
 */
export class SyncRange implements Pick<ByteRange, 'size' | 'read'> {
  readonly #place: Exclude<Place, { readonly path: string }>;
  readonly #opened: number | undefined;

  /**
   * @param what names the content in messages
   * @throws AirliftError `io`
   */
  constructor(
    place: Place,
    readonly size: number,
    private readonly what: string,
  ) {
    try {
      if ('path' in place) this.#opened = openSync(place.path, 'r');
    } catch (cause) {
      throw this.#failed(cause);
    }
    this.#place = 'path' in place ? { fd: this.#opened as number, start: 0 } : place;
  }

  read(position: number, length: number): Promise<Buffer> {
    const place = this.#place;
    const wanted = Math.max(0, Math.min(length, this.size - position));
    if ('bytes' in place)
      return Promise.resolve(Buffer.from(place.bytes.buffer, place.bytes.byteOffset + position, wanted));
    const buffer = Buffer.allocUnsafe(wanted);
    let filled = 0;
    try {
      while (filled < wanted) {
        const count = readSync(place.fd, buffer, filled, wanted - filled, place.start + position + filled);
        if (count === 0) break;
        filled += count;
      }
    } catch (cause) {
      return Promise.reject(this.#failed(cause));
    }
    return Promise.resolve(buffer.subarray(0, filled));
  }

  close(): void {
    if (this.#opened !== undefined) closeSync(this.#opened);
  }

  #failed(cause: unknown): AirliftError {
    return new AirliftError('io', `read ${this.what}: ${messageOf(cause)}`, { cause });
  }
}

/** Bytes read at a time: a tar header together with small entries after it. */
const ahead = 16 * 1024;

/** A cursor over a range; skipped bytes are not read. */
export class RangeCursor implements ByteCursor {
  #position = 0;
  #buffer: Buffer = Buffer.alloc(0);
  #bufferAt = 0;

  constructor(private readonly range: Pick<ByteRange, 'size' | 'read'>) {}

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

/** A cursor over a stream. */
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

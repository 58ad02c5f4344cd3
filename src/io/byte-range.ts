import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { AirliftError, messageOf } from '../errors.js';
import { readableOf } from '../oci/readable.js';

/** Content that can be read from any place: a member of an archive, a file of a directory, a piece of a scratch file. */
export interface ByteRange {
  /** Bytes. */
  readonly size: number;
  /** Up to `length` bytes from `position` on; fewer only at the end. */
  read(position: number, length: number): Promise<Buffer>;
  /** Everything from `position` on. */
  stream(position?: number): Readable;
}

/** Bytes of each read when content is read through. */
const streamChunk = 256 * 1024;

/** Part of an open file. The file must stay open for as long as the range is used. */
export class FileRange implements ByteRange {
  /** @param what names the file, for messages */
  constructor(
    private readonly file: FileHandle,
    private readonly start: number,
    readonly size: number,
    private readonly what: string,
  ) {}

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.size - position)));
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

  stream(position = 0): Readable {
    return Readable.from(this.#chunks(position), { objectMode: false });
  }

  async *#chunks(position: number): AsyncGenerator<Buffer> {
    for (let at = position; at < this.size;) {
      const chunk = await this.read(at, streamChunk);
      if (chunk.byteLength === 0) {
        throw new AirliftError(
          'damaged',
          `read ${this.what}: ends at byte ${this.start + at}; want ${this.size - at} more`,
        );
      }
      yield chunk;
      at += chunk.byteLength;
    }
  }

  /** A part of this range. */
  part(start: number, size: number): FileRange {
    return new FileRange(this.file, this.start + start, size, this.what);
  }
}

/** A file by its path, opened for as long as it is read. */
export class PathRange implements ByteRange {
  constructor(
    private readonly path: string,
    readonly size: number,
  ) {}

  async read(position: number, length: number): Promise<Buffer> {
    const file = await open(this.path).catch((cause: unknown) => {
      throw new AirliftError('io', `read ${this.path}: ${messageOf(cause)}`, { cause });
    });
    try {
      return await new FileRange(file, 0, this.size, this.path).read(position, length);
    } finally {
      await file.close();
    }
  }

  stream(position = 0): Readable {
    return createReadStream(this.path, { start: position, highWaterMark: streamChunk });
  }
}

/** Content in memory. */
export class MemoryRange implements ByteRange {
  constructor(private readonly bytes: Buffer) {}

  get size(): number {
    return this.bytes.byteLength;
  }

  read(position: number, length: number): Promise<Buffer> {
    return Promise.resolve(this.bytes.subarray(position, position + length));
  }

  stream(position = 0): Readable {
    return readableOf(this.bytes, position);
  }
}

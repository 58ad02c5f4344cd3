import { randomBytes } from 'node:crypto';
import { statfsSync, writeSync } from 'node:fs';
import { open, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { AirliftError, isOutOfSpace, messageOf } from '../../errors.js';
import { formatBytes } from '../../oci/bytes.js';
import { FileRange } from '../../io/byte-range.js';

/** Bytes of free disk space that a scratch file leaves for other programs. */
const reserve = 64 * 1024 * 1024;

const spaceHint = 'choose a directory with more space with `tmpDir`';

function noSpace(what: string, directory: string, got: number, want: number): AirliftError {
  return new AirliftError(
    'no-space',
    `store ${what} in ${directory}: not enough space; got ${formatBytes(got)}, want at least ${formatBytes(want)}`,
    { hint: spaceHint },
  );
}

function writeFailed(what: string, directory: string, cause: unknown): AirliftError {
  const isFull = isOutOfSpace(cause);
  return new AirliftError(isFull ? 'no-space' : 'io', `store ${what} in ${directory}: ${messageOf(cause)}`, {
    cause,
    hint: isFull ? spaceHint : undefined,
  });
}

/** The end of a scratch file, as plain data for a worker thread. */
export interface ScratchEnd {
  readonly fd: number;
  readonly position: number;
  readonly directory: string;
}

/** Bytes written before the free space is checked again. */
const checkInterval = 32 * 1024 * 1024;

/** Appends to a scratch file in a worker thread, synchronously. */
export class ScratchAppender {
  #size = 0;
  /** Bytes that may be written before the free space is checked. */
  #spare = 0;

  /** @param what names the content in messages */
  constructor(
    private readonly end: ScratchEnd,
    private readonly what: string,
  ) {}

  /** @throws AirliftError `no-space`, `io` */
  write(chunk: Uint8Array): void {
    const { fd, position, directory } = this.end;
    try {
      if (this.#spare < chunk.byteLength) this.#spare = this.#free(chunk.byteLength);
      for (let at = 0; at < chunk.byteLength;)
        at += writeSync(fd, chunk, at, chunk.byteLength - at, position + this.#size + at);
    } catch (cause) {
      throw cause instanceof AirliftError ? cause : writeFailed(this.what, directory, cause);
    }
    this.#spare -= chunk.byteLength;
    this.#size += chunk.byteLength;
  }

  #free(wanted: number): number {
    const { bavail, bsize } = statfsSync(this.end.directory);
    const free = Math.max(0, bavail * bsize - reserve);
    if (free < wanted) throw noSpace(this.what, this.end.directory, free, wanted);
    return Math.min(free, Math.max(checkInterval, wanted));
  }
}

/** Returns chunks without their first `bytes`. */
function without(chunks: readonly Buffer[], bytes: number): Buffer[] {
  const rest: Buffer[] = [];
  let skip = bytes;
  for (const chunk of chunks) {
    if (skip < chunk.byteLength) rest.push(chunk.subarray(skip));
    skip = Math.max(0, skip - chunk.byteLength);
  }
  return rest;
}

/**
 * A temporary file that only grows. It is unlinked as soon as it is open, so that the system frees it however the process ends.
 */
export class Scratch {
  #size = 0;
  #budget: number;

  private constructor(
    private readonly file: FileHandle,
    private readonly directory: string,
    free: number,
  ) {
    this.#budget = free;
  }

  /**
   * Creates a scratch file.
   * @param directory where (default: the system's temporary directory)
   * @throws AirliftError `io` where the file cannot be created
   */
  static async create(directory: string = tmpdir()): Promise<Scratch> {
    const path = join(directory, `airlift-${randomBytes(8).toString('hex')}.tmp`);
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'wx+', 0o600);
      await unlink(path);
      const { bavail, bsize } = await statfs(directory);
      return new Scratch(file, directory, Math.max(0, bavail * bsize - reserve));
    } catch (cause) {
      await file?.close();
      throw new AirliftError('io', `create a temporary file in ${directory}: ${messageOf(cause)}`, {
        cause,
        hint: 'choose another directory with `tmpDir`',
      });
    }
  }

  /**
   * Checks that `bytes` more fit on the disk.
   * @param what names the content in messages
   * @throws AirliftError `no-space`
   */
  require(bytes: number, what: string): void {
    if (this.#size + bytes <= this.#budget) return;
    throw noSpace(what, this.directory, this.#budget - this.#size, bytes);
  }

  /** Returns a stream that appends to the file, and the range it has written once it is finished. Append one stream at a time. */
  append(what: string): { stream: Writable; range: () => FileRange } {
    const start = this.#size;
    const stream = new Writable({
      highWaterMark: 1024 * 1024,
      write: (chunk: Buffer, _encoding, done) => {
        this.#write([chunk], what).then(() => done(), done);
      },
      writev: (writes, done) => {
        this.#write(
          writes.map(({ chunk }) => chunk as Buffer),
          what,
        ).then(() => done(), done);
      },
    });
    return { stream, range: () => new FileRange(this.file, start, this.#size - start, what) };
  }

  /** The place where a worker thread appends. */
  get end(): ScratchEnd {
    return { fd: this.file.fd, position: this.#size, directory: this.directory };
  }

  /** Keeps what a worker thread has appended, and returns it. */
  grow(bytes: number, what: string): FileRange {
    const start = this.#size;
    this.#size += bytes;
    return new FileRange(this.file, start, bytes, what);
  }

  /** The handle of the file, for random access. The scratch file must stay open while it is used. */
  get handle(): FileHandle {
    return this.file;
  }

  close(): Promise<void> {
    return this.file.close();
  }

  async #write(chunks: readonly Buffer[], what: string): Promise<void> {
    this.require(
      chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0),
      what,
    );
    try {
      for (let rest = chunks; rest.length > 0;) {
        const { bytesWritten } = await this.file.writev(rest, this.#size);
        this.#size += bytesWritten;
        rest = without(rest, bytesWritten);
      }
    } catch (cause) {
      throw writeFailed(what, this.directory, cause);
    }
  }
}

import {
  close,
  constants,
  fstat,
  fsync,
  ftruncate,
  open,
  read,
  readSync,
  stat,
  writevSync,
  type BigIntStats,
} from 'node:fs';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { AirliftError } from '../../errors.js';
import { ioError } from './io-error.js';

const calls = {
  close: promisify(close),
  fstat: promisify(fstat),
  fstatExact: promisify((descriptor: number, done: (error: Error | null, stats: BigIntStats) => void) =>
    fstat(descriptor, { bigint: true }, done),
  ),
  fsync: promisify(fsync),
  ftruncate: promisify(ftruncate),
  open: promisify(open),
  read: promisify(read),
  stat: promisify(stat),
} as const;

/** Prevents a symbolic link in the file's place from redirecting a write; does not exist on Windows. */
export const noFollow = (constants.O_NOFOLLOW as number | undefined) ?? 0;

const flags = {
  r: constants.O_RDONLY,
  'r+': constants.O_RDWR | noFollow,
  create: constants.O_RDWR | constants.O_CREAT | noFollow,
} as const;

/** Identifies a file and the state of its content: another file has another identity, and so has this one after a write. */
export function fileIdentity({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs].join(' ');
}

/**
 * The file of a bundle, read and written by position. All access to a bundle's bytes goes through this class, so that a bundle can later
 * be a set of volumes. Each worker thread opens its own by path.
 */
export class BundleFile {
  // A plain descriptor, not a FileHandle: a worker that is terminated needs no cleanup for it.
  readonly #descriptor: number;

  private constructor(
    /** Its path, or its name in messages. */
    readonly path: string,
    descriptor: number,
    /** The identity of the file when it was opened, see {@link fileIdentity}. */
    readonly identity: string,
  ) {
    this.#descriptor = descriptor;
  }

  /**
   * Opens the file: `r` for reading, `r+` for reading and writing, `create` like `r+` but creates a missing file.
   * @param name its name in messages
   * @throws AirliftError `io`
   */
  static async open(path: string, mode: keyof typeof flags, name = path): Promise<BundleFile> {
    try {
      // Opening a pipe would block until another process opens it for writing.
      if (mode !== 'create' && !(await calls.stat(path)).isFile())
        throw new AirliftError('io', `open ${name}: not a regular file`);
      const descriptor = await calls.open(path, flags[mode]);
      return new BundleFile(name, descriptor, fileIdentity(await calls.fstatExact(descriptor)));
    } catch (error) {
      throw error instanceof AirliftError
        ? error
        : ioError(`open ${name}`, error, { isInput: mode !== 'create' });
    }
  }

  /** Returns the bytes of the file, and the bytes that it occupies on the disk (less if it has holes). */
  async stat(): Promise<{ size: number; allocated: number }> {
    const { size, blocks } = await calls.fstat(this.#descriptor);
    return { size, allocated: blocks * 512 };
  }

  /** Reports whether the file is unchanged since it was opened, by its identity. */
  async isUnchanged(): Promise<boolean> {
    return fileIdentity(await calls.fstatExact(this.#descriptor)) === this.identity;
  }

  /** Returns the identity of the file with the time of its last change, which no program can set back, also in milliseconds. */
  async state(): Promise<{ readonly id: string; readonly changed: number }> {
    const stats = await calls.fstatExact(this.#descriptor);
    return { id: `${fileIdentity(stats)} ${stats.ctimeNs}`, changed: Number(stats.ctimeMs) };
  }

  /**
   * Writes all `buffers`, one after the other, at `position`. Blocks the thread.
   * @throws AirliftError `no-space`, `io`
   */
  writevSync(buffers: readonly Uint8Array[], position: number): void {
    let rest = buffers.filter((buffer) => buffer.byteLength > 0);
    try {
      while (rest.length > 0) {
        const written = writevSync(this.#descriptor, rest, position);
        position += written;
        rest = without(rest, written);
      }
    } catch (error) {
      throw ioError(`write ${this.path}`, error);
    }
  }

  /**
   * Reads `length` bytes at `position`; fewer if the file ends before.
   * @param memory is filled (default: new memory)
   * @throws AirliftError `io`
   */
  async read(position: number, length: number, memory: Buffer = Buffer.allocUnsafe(length)): Promise<Buffer> {
    const buffer = memory.subarray(0, length);
    let done = 0;
    try {
      while (done < length) {
        const { bytesRead } = await calls.read(
          this.#descriptor,
          buffer,
          done,
          length - done,
          position + done,
        );
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw ioError(`read ${this.path}`, error);
    }
    return buffer.subarray(0, done);
  }

  /** Fills `buffer` from `position`, blocking the thread, and returns the number of bytes read; fewer only at the end of the file. */
  readSync(buffer: Uint8Array, position: number): number {
    let done = 0;
    try {
      while (done < buffer.byteLength) {
        const count = readSync(this.#descriptor, buffer, done, buffer.byteLength - done, position + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw ioError(`read ${this.path}`, error);
    }
    return done;
  }

  /** Streams `length` bytes at `position` in large chunks; ends early if the file does. */
  stream(position: number, length: number, options: StreamOptions = {}): Readable {
    return new PositionedStream(this.path, this.#descriptor, position, length, options);
  }

  /** Sets the file's size; an extension is a hole. */
  async resize(size: number): Promise<void> {
    try {
      await calls.ftruncate(this.#descriptor, size);
    } catch (error) {
      throw ioError(`resize ${this.path} to ${size} bytes`, error);
    }
  }

  /** Waits until everything written is on the disk. */
  async sync(): Promise<void> {
    try {
      await calls.fsync(this.#descriptor);
    } catch (error) {
      throw ioError(`sync ${this.path}`, error);
    }
  }

  async close(): Promise<void> {
    await calls.close(this.#descriptor);
  }
}

/** Returns what remains of `buffers` after `count` bytes of them are written. */
function without(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest = [];
  for (const buffer of buffers) {
    if (count < buffer.byteLength) rest.push(count > 0 ? buffer.subarray(count) : buffer);
    count = Math.max(0, count - buffer.byteLength);
  }
  return rest;
}

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** As in `FetchOptions`. */
  readonly reusesMemory?: boolean | undefined;
}

/** Bytes per read of a stream. */
const chunkSize = 1024 * 1024;

/** Buffers of a stream that reuses memory: for the chunk being read, and for the two that the reader took last. */
const ringSize = 3;

/**
 * Streams a range of an open file and leaves the file open (Node's own file stream closes the descriptor when it is destroyed). Ends early
 * if the file does.
 */
class PositionedStream extends Readable {
  /** The buffers that are used in turn; undefined if each read gets a new one. */
  readonly #ring: Buffer[] | undefined;
  #reads = 0;

  constructor(
    private readonly path: string,
    private readonly descriptor: number,
    private position: number,
    private rest: number,
    { signal, reusesMemory = false }: StreamOptions,
  ) {
    // Holds one chunk at most, so that the stream reads the next one when the reader takes it.
    super({ highWaterMark: Math.min(chunkSize, Math.max(1, rest)), signal });
    if (reusesMemory) this.#ring = [];
  }

  override _read(): void {
    if (this.rest <= 0) {
      this.push(null);
      return;
    }
    const size = Math.min(chunkSize, this.rest);
    this.#fill(this.#nextBuffer(size).subarray(0, size), 0);
  }

  #nextBuffer(size: number): Buffer {
    if (this.#ring === undefined) return Buffer.allocUnsafeSlow(size);
    return (this.#ring[this.#reads++ % ringSize] ??= Buffer.allocUnsafeSlow(size));
  }

  /** Pushes the buffer once it is full or the file has ended: a smaller chunk would let the stream hold two. */
  #fill(buffer: Buffer, filled: number): void {
    const left = buffer.byteLength - filled;
    read(this.descriptor, buffer, filled, left, this.position, (error, count) => {
      if (error !== null) {
        this.destroy(ioError(`read ${this.path}`, error));
        return;
      }
      this.position += count;
      this.rest = count === 0 ? 0 : this.rest - count;
      if (count > 0 && count < left) this.#fill(buffer, filled + count);
      else this.push(filled + count === 0 ? null : buffer.subarray(0, filled + count));
    });
  }
}

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
  writev,
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
  writev: promisify(writev),
} as const;

/** Keeps a link that somebody put in a file's place from leading a write elsewhere; not known to Windows. */
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
 * The bytes of a bundle, read and written by position. Everything that touches them goes through here, so that a bundle
 * may later be a set of volumes. Worker threads open their own by path.
 */
export class BundleFile {
  // A plain descriptor: a worker that is terminated gives it back without ado.
  readonly #descriptor: number;

  private constructor(
    /** Its path, or what messages call it. */
    readonly path: string,
    descriptor: number,
    /** The identity of the file when it was opened, see {@link fileIdentity}. */
    readonly identity: string,
  ) {
    this.#descriptor = descriptor;
  }

  /**
   * Opens the file: `r` to read, `r+` to read and write what exists, `create` to make it where it does not.
   * @param name what messages call it
   * @throws AirliftError `io`
   */
  static async open(path: string, mode: keyof typeof flags, name = path): Promise<BundleFile> {
    try {
      // Opening a pipe would wait for whoever writes to it.
      if (mode !== 'create' && !(await calls.stat(path)).isFile())
        throw new AirliftError('io', `open ${name}: not a regular file`);
      const descriptor = await calls.open(path, flags[mode]);
      return new BundleFile(name, descriptor, fileIdentity(await calls.fstatExact(descriptor)));
    } catch (error) {
      throw error instanceof AirliftError ? error : ioError(`open ${name}`, error);
    }
  }

  /** Bytes of the file, and bytes that it takes on the disk (less where it has holes). */
  async stat(): Promise<{ size: number; allocated: number }> {
    const { size, blocks } = await calls.fstat(this.#descriptor);
    return { size, allocated: blocks * 512 };
  }

  /** Whether nobody has written to the file since it was opened. */
  async isUnchanged(): Promise<boolean> {
    return fileIdentity(await calls.fstatExact(this.#descriptor)) === this.identity;
  }

  /**
   * Writes all of `buffers`, one after the other, from `position` on.
   * @throws AirliftError `no-space`, `io`
   */
  async writev(buffers: readonly Uint8Array[], position: number): Promise<void> {
    let rest = buffers.filter((buffer) => buffer.byteLength > 0);
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await calls.writev(this.#descriptor, rest, position);
        position += bytesWritten;
        rest = without(rest, bytesWritten);
      }
    } catch (error) {
      throw ioError(`write ${this.path}`, error);
    }
  }

  /** As writev, but blocks the thread: for workers that do nothing else meanwhile, and for many small writes. */
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
   * Reads `length` bytes from `position` on; fewer where the file ends before.
   * @throws AirliftError `io`
   */
  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
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

  /** Fills `buffer` from `position` on, blocking the thread, and says how many bytes there were. */
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

  /** Streams `length` bytes from `position` on in big chunks; ends early where the file does. */
  stream(position: number, length: number, options?: StreamOptions): Readable {
    return new PositionedStream(this.path, this.#descriptor, position, length, options);
  }

  /** Makes the file `size` bytes long; what is new is a hole. */
  async resize(size: number): Promise<void> {
    try {
      await calls.ftruncate(this.#descriptor, size);
    } catch (error) {
      throw ioError(`make ${this.path} ${size} bytes long`, error);
    }
  }

  /** Returns when everything written is on the disk. */
  async sync(): Promise<void> {
    try {
      await calls.fsync(this.#descriptor);
    } catch (error) {
      throw ioError(`write ${this.path} to the disk`, error);
    }
  }

  async close(): Promise<void> {
    await calls.close(this.#descriptor);
  }
}

/** What is left of `buffers` after `count` bytes of them were written. */
function without(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest = [];
  for (const buffer of buffers) {
    if (count < buffer.byteLength) rest.push(count > 0 ? buffer.subarray(count) : buffer);
    count = Math.max(0, count - buffer.byteLength);
  }
  return rest;
}

/** Default number of bytes per read. */
const defaultChunkSize = 1024 * 1024;

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes per read; default: 1 MiB. Use less if many streams are open at once. */
  readonly chunkSize?: number | undefined;
}

/**
 * Streams a range of an open file and leaves the file open (Node's own file stream closes the descriptor when it is destroyed). Ends early
 * if the file does.
 */
class PositionedStream extends Readable {
  readonly #chunkSize: number;

  constructor(
    private readonly path: string,
    private readonly descriptor: number,
    private position: number,
    private rest: number,
    { signal, chunkSize = defaultChunkSize }: StreamOptions = {},
  ) {
    super({ highWaterMark: Math.min(chunkSize, Math.max(1, rest)), signal });
    this.#chunkSize = chunkSize;
  }

  override _read(): void {
    if (this.rest <= 0) {
      this.push(null);
      return;
    }
    const buffer = Buffer.allocUnsafeSlow(Math.min(this.#chunkSize, this.rest));
    read(this.descriptor, buffer, 0, buffer.length, this.position, (error, count) => {
      if (error !== null) {
        this.destroy(ioError(`read ${this.path}`, error));
        return;
      }
      this.position += count;
      this.rest = count === 0 ? 0 : this.rest - count;
      this.push(count === 0 ? null : buffer.subarray(0, count));
    });
  }
}

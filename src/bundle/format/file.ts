import { read, readSync, writevSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { BufferRing } from '../../io/buffer-ring.js';
import { ioError } from './io-error.js';
import {
  openFiles,
  pathOf,
  type BundleFiles,
  type BundlePlace,
  type HeldFiles,
  type OpenMode,
  type Spot,
} from './volumes/files.js';

const readAsync = promisify(read);

/** Milliseconds of blocking reads after which other events get their turn. */
const blockingTime = 20;

/** A volume of a bundle, with its positions in the bundle. */
export interface HeldVolume {
  readonly path: string;
  readonly start: number;
  /** Infinity for the last volume. */
  readonly end: number;
  /** Undefined without a list. */
  readonly digest: Digest | undefined;
}

/**
 * The file of a bundle, or its volumes as one file, read and written by position. All access to a bundle's bytes goes through this class.
 * Each worker thread opens its own by place.
 */
export class BundleFile {
  /** When other events last got their turn between blocking reads. */
  #turnAt = 0;

  private constructor(
    /** Its path, or its name in messages. */
    readonly path: string,
    // Plain descriptors, not FileHandles: a worker that is terminated needs no cleanup for them.
    private readonly files: BundleFiles,
    /** The identity of the file when it was opened, see `fileIdentity`. */
    readonly identity: string,
  ) {}

  /**
   * Opens the file: `r` for reading, `r+` for reading and writing, `create` like `r+` but creates a missing file.
   * @param name its name in messages
   * @throws AirliftError `io`, `damaged` if a volume is missing or of a wrong size
   */
  static async open(
    place: BundlePlace | HeldFiles,
    mode: OpenMode,
    name = pathOf(place),
  ): Promise<BundleFile> {
    const files = await openFiles(place, mode, name);
    try {
      return new BundleFile(name, files, (await files.state()).identity);
    } catch (error) {
      files.close();
      throw error;
    }
  }

  /** Returns the bytes of the file, and the bytes that it occupies on the disk (less if it has holes). */
  stat(): Promise<{ size: number; allocated: number }> {
    return this.files.stat();
  }

  /** Reports whether the file is unchanged since it was opened, by its identity. */
  async isUnchanged(): Promise<boolean> {
    return (await this.files.state()).identity === this.identity;
  }

  /** Returns the identity of the file with the time of its last change, which no program can set back, also in milliseconds. */
  async state(): Promise<{ readonly id: string; readonly changed: number }> {
    const { identity, changeTime, changed } = await this.files.state();
    return { id: `${identity} ${changeTime}`, changed };
  }

  /**
   * Writes all `buffers`, one after the other, at `position`. Blocks the thread.
   * @throws AirliftError `no-space`; `io`, also if the volume is missing
   */
  writevSync(buffers: readonly Uint8Array[], position: number): void {
    let rest = buffers.filter((buffer) => buffer.byteLength > 0);
    while (rest.length > 0) {
      const spot = this.files.at(position, true);
      if (spot === undefined)
        throw new AirliftError('io', `write ${this.path}: the volume of byte ${position} is missing`);
      try {
        const written = writevSync(spot.descriptor, upTo(rest, spot.rest), spot.offset);
        position += written;
        rest = without(rest, written);
      } catch (error) {
        throw ioError(`write ${spot.path}`, error);
      }
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
    while (done < length) {
      const spot = this.files.at(position + done);
      if (spot === undefined) break;
      const count = await readSpot(spot, buffer, done);
      if (count === 0) break;
      done += count;
    }
    return buffer.subarray(0, done);
  }

  /**
   * Reads as `read` does, but blocks the thread, which takes a tenth of the time: for many small reads one after the other. Other events,
   * such as Ctrl-C, get their turn in between.
   * @throws AirliftError `io`
   */
  async readSmall(position: number, length: number): Promise<Buffer> {
    if (performance.now() - this.#turnAt > blockingTime) {
      await setImmediate();
      this.#turnAt = performance.now();
    }
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, this.readSync(buffer, position));
  }

  /** Fills `buffer` from `position`, blocking the thread, and returns the number of bytes read; fewer only at the end of the file. */
  readSync(buffer: Uint8Array, position: number): number {
    let done = 0;
    while (done < buffer.byteLength) {
      const spot = this.files.at(position + done);
      if (spot === undefined) break;
      const want = Math.min(buffer.byteLength - done, spot.rest);
      try {
        const count = readSync(spot.descriptor, buffer, done, want, spot.offset);
        if (count === 0) break;
        done += count;
      } catch (error) {
        throw ioError(`read ${spot.path}`, error);
      }
    }
    return done;
  }

  /** Streams `length` bytes at `position` in large chunks; ends early if the file does. */
  stream(position: number, length: number, options: StreamOptions = {}): Readable {
    return new PositionedStream(this.files, position, length, options);
  }

  /** Returns the volumes that hold bytes of a range, with their positions in the bundle; none if it is one file. */
  volumesAt(position: number, length: number): HeldVolume[] {
    const volumes = [];
    if (!this.files.isSplit) return [];
    for (const to = position + length; position < to;) {
      const spot = this.files.at(position);
      if (spot === undefined) break;
      const { path, offset, rest, digest } = spot;
      volumes.push({ path, start: position - offset, end: position + rest, digest });
      position += rest;
    }
    return volumes;
  }

  /** Sets the file's size; an extension is a hole. */
  resize(size: number): Promise<void> {
    return this.files.resize(size);
  }

  /** Waits until everything written is on the disk. */
  sync(): Promise<void> {
    return this.files.sync();
  }

  close(): Promise<void> {
    this.files.close();
    return Promise.resolve();
  }
}

/** Reads into `buffer` from `filled` on, within one volume. */
async function readSpot(
  { descriptor, path, offset, rest }: Spot,
  buffer: Buffer,
  filled: number,
): Promise<number> {
  try {
    const want = Math.min(buffer.byteLength - filled, rest);
    return (await readAsync(descriptor, buffer, filled, want, offset)).bytesRead;
  } catch (error) {
    throw ioError(`read ${path}`, error);
  }
}

/** Returns the first `count` bytes of `buffers`. */
function upTo(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  const first = [];
  for (const buffer of buffers) {
    if (buffer.byteLength >= count) {
      first.push(buffer.subarray(0, count));
      return first;
    }
    first.push(buffer);
    count -= buffer.byteLength;
  }
  return first;
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

/**
 * Streams a range of an open file and leaves the file open (Node's own file stream closes the descriptor when it is destroyed). Ends early
 * if the file does.
 */
class PositionedStream extends Readable {
  /** Undefined if each read gets a new buffer. */
  readonly #ring: BufferRing | undefined;

  constructor(
    private readonly files: BundleFiles,
    private position: number,
    private rest: number,
    { signal, reusesMemory = false }: StreamOptions,
  ) {
    // Holds one chunk at most, so that the stream reads the next one when the reader takes it.
    super({ highWaterMark: Math.min(chunkSize, Math.max(1, rest)), signal });
    if (reusesMemory) this.#ring = new BufferRing();
  }

  override _read(): void {
    if (this.rest <= 0) {
      this.push(null);
      return;
    }
    const size = Math.min(chunkSize, this.rest);
    this.#fill(this.#ring?.next(size) ?? Buffer.allocUnsafeSlow(size), 0);
  }

  /** Pushes the buffer once it is full or the file has ended: a smaller chunk would let the stream hold two. */
  #fill(buffer: Buffer, filled: number): void {
    const spot = this.files.at(this.position);
    if (spot === undefined) {
      this.#pushLast(buffer, filled);
      return;
    }
    const left = buffer.byteLength - filled;
    read(spot.descriptor, buffer, filled, Math.min(left, spot.rest), spot.offset, (error, count) => {
      if (error !== null) {
        this.destroy(ioError(`read ${spot.path}`, error));
        return;
      }
      this.position += count;
      this.rest -= count;
      if (count === 0) this.#pushLast(buffer, filled);
      else if (count < left) this.#fill(buffer, filled + count);
      else this.push(buffer);
    });
  }

  /** Pushes what is read when the file ends early. */
  #pushLast(buffer: Buffer, filled: number): void {
    this.rest = 0;
    this.push(filled === 0 ? null : buffer.subarray(0, filled));
  }
}

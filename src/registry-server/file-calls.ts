import {
  close,
  closeSync,
  fstat,
  fstatSync,
  open,
  openSync,
  read,
  readSync,
  renameSync,
  statSync,
  utimesSync,
  writev,
  writevSync,
  type BigIntStats,
} from 'node:fs';
import { rename, stat, utimes } from 'node:fs/promises';
import { promisify } from 'node:util';
import { isMissingPath } from '../errors.js';

const pooled = {
  open: promisify<string, string, number>(open),
  close: promisify(close),
  fstat: promisify((descriptor: number, done: (error: Error | null, stats: BigIntStats) => void) =>
    fstat(descriptor, { bigint: true }, done),
  ),
  read: promisify(read),
  writev: promisify(writev),
};

/** Bytes that are read or written on the calling thread at most. */
const largestDirect = 64 * 1024;
/** Milliseconds of a slow call: ten times as long as one that finds everything in memory. */
const slowCall = 0.2;
/** Milliseconds over which slow calls are counted, and how many of them they may take on the calling thread. */
const period = 1000;
const slowShare = period / 10;
/** Milliseconds of direct calls in one turn of the event loop, so that a long loop of them does not keep other requests waiting. */
const turnShare = 5;

/**
 * Calls of the operating system on small files. A call that finds everything in memory takes 2 µs; Node's thread pool adds 20 µs of CPU time
 * and two switches of threads. So a call is made directly, on the calling thread, as long as the disk is fast: slow calls take at most a tenth
 * of the time, then calls go to the thread pool. Methods throw the system's errors.
 */
export class FileCalls {
  /** Beginning of the current period. */
  #since = 0;
  /** Milliseconds that slow calls took in it. */
  #slow = 0;
  /** Milliseconds that direct calls took in this turn of the event loop. */
  #turn = 0;

  /** @param now a clock in milliseconds */
  constructor(private readonly now: () => number = () => performance.now()) {}

  async open(path: string, flags: 'r' | 'r+' | 'a' | 'wx'): Promise<number> {
    return this.#mayCall() ? this.#time(() => openSync(path, flags)) : await pooled.open(path, flags);
  }

  async close(descriptor: number): Promise<void> {
    if (this.#mayCall()) this.#time(() => closeSync(descriptor));
    else await pooled.close(descriptor);
  }

  /** Returns the state of an open file. */
  async fstat(descriptor: number): Promise<BigIntStats> {
    return this.#mayCall()
      ? this.#time(() => fstatSync(descriptor, { bigint: true }))
      : await pooled.fstat(descriptor);
  }

  /** Returns the number of bytes read: fewer than `length` at the end only. */
  async read(descriptor: number, memory: Buffer, length: number, position: number): Promise<number> {
    if (length <= largestDirect && this.#mayCall())
      return this.#time(() => readSync(descriptor, memory, 0, length, position));
    return (await pooled.read(descriptor, memory, 0, length, position)).bytesRead;
  }

  /** Writes to the end of what was written, and returns the number of bytes written. */
  async write(descriptor: number, bytes: readonly Uint8Array[], size: number): Promise<number> {
    if (size <= largestDirect && this.#mayCall()) return this.#time(() => writevSync(descriptor, bytes));
    return (await pooled.writev(descriptor, bytes)).bytesWritten;
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.#mayCall()) this.#time(() => renameSync(from, to));
    else await rename(from, to);
  }

  /** Sets the time of the last change to now. */
  async touch(path: string): Promise<void> {
    const now = Date.now() / 1000;
    if (this.#mayCall()) this.#time(() => utimesSync(path, now, now));
    else await utimes(path, now, now);
  }

  /** Returns the bytes of a file; undefined if it does not exist. */
  async sizeOf(path: string): Promise<number | undefined> {
    // Most errors of this call say that a file is missing, and throwing one takes longer than the call.
    if (this.#mayCall()) return this.#time(() => statSync(path, { throwIfNoEntry: false }))?.size;
    try {
      return (await stat(path)).size;
    } catch (error) {
      if (isMissingPath(error)) return undefined;
      throw error;
    }
  }

  #mayCall(): boolean {
    return this.#turn < turnShare && (this.#slow < slowShare || this.now() > this.#since + period);
  }

  #time<T>(call: () => T): T {
    const begun = this.now();
    try {
      return call();
    } finally {
      const ended = this.now();
      const taken = ended - begun;
      if (this.#turn === 0) setImmediate(() => (this.#turn = 0));
      this.#turn += taken;
      if (taken > slowCall) {
        if (ended > this.#since + period) {
          this.#since = ended;
          this.#slow = 0;
        }
        this.#slow += taken;
      }
    }
  }
}

import { read } from 'node:fs';
import { Readable } from 'node:stream';
import { ioError } from './io-error.js';

/** Bytes read at a time, by default. */
const defaultChunkSize = 1024 * 1024;

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes read at a time: fewer where many streams are open at once. Default 1 MiB. */
  readonly chunkSize?: number | undefined;
}

/**
 * Streams a range of an open file and leaves it open. (Node's own file stream closes the descriptor when it is destroyed.)
 * Ends early where the file does.
 */
export class PositionedStream extends Readable {
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

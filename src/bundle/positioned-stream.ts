import { read } from 'node:fs';
import { Readable } from 'node:stream';
import { ioError } from './io-error.js';

/** Bytes read at a time. */
const chunkSize = 1024 * 1024;

/**
 * Streams a range of an open file and leaves it open. (Node's own file stream closes the descriptor when it is destroyed.)
 * Ends early where the file does.
 */
export class PositionedStream extends Readable {
  constructor(
    private readonly path: string,
    private readonly descriptor: number,
    private position: number,
    private rest: number,
    signal?: AbortSignal,
  ) {
    super({ highWaterMark: Math.min(chunkSize, Math.max(1, rest)), signal });
  }

  override _read(): void {
    if (this.rest <= 0) {
      this.push(null);
      return;
    }
    const buffer = Buffer.allocUnsafeSlow(Math.min(chunkSize, this.rest));
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

/** Buffers in a ring: one for the chunk being read, and two for the chunks that the reader took last. */
const ringSize = 3;

/** Buffers that a stream fills in turn, where its reader is done with a chunk when it takes the next but one. */
export class BufferRing {
  readonly #buffers: Buffer[] = [];
  #taken = 0;

  /** Returns the next `size` bytes of memory; no call may ask for more than an earlier one. */
  next(size: number): Buffer {
    return (this.#buffers[this.#taken++ % ringSize] ??= Buffer.allocUnsafeSlow(size)).subarray(0, size);
  }
}

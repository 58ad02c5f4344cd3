/** Sizes of a chunk in bytes. Memory for chunks comes in these sizes times powers of two. */
export const smallestChunk = 64 * 1024;
export const largestChunk = 2 * 1024 * 1024;
/** Bytes that downloads hold together, as long as each can have two of the smallest chunks. */
const budget = 32 * 1024 * 1024;
/** Bytes that are kept for later downloads. */
const reserve = 16 * 1024 * 1024;

/**
 * Lends memory for the chunks of downloads. Memory that was used before costs no page faults, which take as long as the copying itself.
 */
export class ChunkMemory {
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;
  #lentBytes = 0;
  /** Downloads under way, which share the budget. Each holds two chunks. */
  downloads = 0;

  /** Lends `size` bytes, or less if downloads hold too much. */
  take(size: number): Buffer {
    const lent = this.#allowed(size);
    this.#lentBytes += lent;
    const known = this.#free.get(lent)?.pop();
    if (known === undefined) return Buffer.allocUnsafeSlow(lent);
    this.#freeBytes -= lent;
    return known;
  }

  /** Takes back memory that nothing reads any more. */
  give(memory: Buffer): void {
    const size = memory.byteLength;
    this.#lentBytes -= size;
    if (this.#freeBytes + size > reserve) return;
    this.#freeBytes += size;
    const others = this.#free.get(size);
    if (others === undefined) this.#free.set(size, [memory]);
    else others.push(memory);
  }

  /** Leaves memory to the garbage collector, since a broken connection may still read it. */
  abandon(memory: Buffer): void {
    this.#lentBytes -= memory.byteLength;
  }

  #allowed(size: number): number {
    const share = budget / (2 * this.downloads);
    let allowed = smallestChunk;
    while (allowed * 2 <= Math.min(size, share, budget - this.#lentBytes)) allowed *= 2;
    return allowed;
  }
}

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export interface ChunkCollectorOptions {
  /**
   * Bytes written between two garbage collections (default: 16 MB). Each takes up to a millisecond, and moves chunks in use to the old
   * generation: a shorter interval saves memory in a thread that holds few objects.
   */
  readonly interval?: number;
  /**
   * Collects the old generation as well at each of so many collections (default: never): chunks that are in use at two minor collections
   * get there, and V8 lets 50 MB of them pile up.
   */
  readonly majorEvery?: number;
}

/**
 * Returns a function to call with the number of bytes just written, which collects garbage now and then. Network chunks and compressed blocks
 * lie outside the heap, so V8 counts little of them towards its next collection: at full speed 50 MB of written chunks pile up in each
 * thread. The minor collections halve that, and make writing faster, because the memory is used again while it is in the processor's cache.
 */
export function chunkCollector({
  interval = 16_000_000,
  majorEvery = Infinity,
}: ChunkCollectorOptions = {}): (bytes: number) => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void;
  let written = 0;
  let collections = 0;
  return (bytes) => {
    written += bytes;
    if (written < interval) return;
    written = 0;
    collections++;
    if (collections % majorEvery === 0) collect();
    else collect({ type: 'minor' });
  };
}

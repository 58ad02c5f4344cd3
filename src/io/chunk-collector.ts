import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes written between two garbage collections: each takes a millisecond, and moves chunks in use to the old generation. */
const collectInterval = 16_000_000;

/**
 * Returns a function to call with the number of bytes just written, which collects garbage every 16 MB. Network chunks and compressed blocks
 * lie outside the heap, so V8 counts little of them towards its next collection: at full speed 50 MB of written chunks pile up in each
 * thread. The minor collections halve that, and make writing faster, because the memory is used again while it is in the processor's cache.
 * @param majorEvery collects the old generation as well at each of so many collections: chunks that are in use at two minor
 *   collections get there, and V8 lets 50 MB of them pile up
 */
export function chunkCollector(majorEvery = Infinity): (bytes: number) => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void;
  let written = 0;
  let collections = 0;
  return (bytes) => {
    written += bytes;
    if (written < collectInterval) return;
    written = 0;
    collections++;
    if (collections % majorEvery === 0) collect();
    else collect({ type: 'minor' });
  };
}

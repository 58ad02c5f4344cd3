import { BoundedMap } from '../bounded-map.js';
import type { Digest } from '../oci/digest.js';
import type { ContentState } from './store-content.js';

/** Blobs that are remembered as verified. */
const maxVerified = 65_536;
/** Milliseconds for which a file must be unchanged before its state is relied on: file times are exact to a few milliseconds only. */
const settledAfter = 2000;

/** Remembers which blobs were hashed, and in which state their files were, so that each is hashed once. */
export class VerifiedBlobs {
  readonly #states = new BoundedMap<Digest, string>(maxVerified);

  has(digest: Digest, state: ContentState | undefined): boolean {
    return state !== undefined && this.#states.get(digest) === state.id;
  }

  add(digest: Digest, { id, changed }: ContentState): void {
    if (Date.now() - changed > settledAfter) this.#states.set(digest, id);
  }
}

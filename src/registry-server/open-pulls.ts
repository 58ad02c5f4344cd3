import { isObject } from '../oci/descriptor.js';
import { isDigest, type Digest } from '../oci/digest.js';
import { parseJson } from '../oci/json.js';

/** Milliseconds after the last request of a pull in which its client is expected to ask for the next layer. */
const patience = 10_000;

/** Clients that are remembered at a time, and blobs of one of them: more are forgotten, which only shortens the wait for them. */
const mostClients = 4096;
const mostBlobs = 4096;

interface Pull {
  /** Blobs that the client's manifests name and that it has not fetched. */
  readonly missing: Set<Digest>;
  /** When it last asked for something. */
  lastRequest: number;
}

/**
 * Knows which clients have fetched a manifest and not yet all of its blobs: a client may pause between two layers while it unpacks.
 * One that already had some of the blobs cannot be told apart from one that pauses.
 */
export class OpenPulls {
  readonly #pulls = new Map<string, Pull>();

  constructor(private readonly wait = patience) {}

  /** Records that a client received a manifest. An index names no blobs. */
  manifestSent(client: string, bytes: Uint8Array): void {
    const blobs = blobsOf(bytes);
    if (blobs.length === 0) return;
    const pull = this.#pulls.get(client) ?? { missing: new Set(), lastRequest: 0 };
    for (const digest of blobs) if (pull.missing.size < mostBlobs) pull.missing.add(digest);
    this.#touch(client, pull);
  }

  /** Records that a client received a blob or a part of it. */
  blobSent(client: string, digest: Digest): void {
    const pull = this.#pulls.get(client);
    if (pull === undefined) return;
    pull.missing.delete(digest);
    if (pull.missing.size === 0) this.#pulls.delete(client);
    else this.#touch(client, pull);
  }

  /** Milliseconds until no client is expected to ask for another layer; 0 where none is. */
  timeLeft(): number {
    const now = performance.now();
    let left = 0;
    for (const [client, { lastRequest }] of this.#pulls) {
      const ofClient = lastRequest + this.wait - now;
      if (ofClient <= 0) this.#pulls.delete(client);
      left = Math.max(left, ofClient);
    }
    return left;
  }

  /** Moves a client to the end, so that the first is the one that has been silent longest. */
  #touch(client: string, pull: Pull): void {
    pull.lastRequest = performance.now();
    this.#pulls.delete(client);
    this.#pulls.set(client, pull);
    for (const silent of this.#pulls.keys()) {
      if (this.#pulls.size <= mostClients) break;
      this.#pulls.delete(silent);
    }
  }
}

/** The config and layers that a manifest names; none for anything else. */
function blobsOf(bytes: Uint8Array): Digest[] {
  const content = parseJson(bytes, 'manifest');
  if (!isObject(content)) return [];
  const layers = Array.isArray(content.layers) ? content.layers : [];
  return [content.config, ...layers].flatMap((descriptor: unknown) =>
    isObject(descriptor) && isDigest(descriptor.digest) ? [descriptor.digest] : [],
  );
}

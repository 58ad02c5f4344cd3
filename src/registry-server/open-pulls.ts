import { BoundedMap } from '../bounded-map.js';
import type { Digest } from '../oci/digest.js';
import { blobsOf, parseManifest } from '../oci/manifest.js';

/** Milliseconds after the last request of a pull within which its client is expected to request the next layer. */
const patience = 10_000;

/** Clients that are remembered at a time, and blobs per client. Forgetting one only shortens the wait for it. */
const maxClients = 4096;
const maxBlobs = 4096;

interface Pull {
  /** Blobs that the client's manifests name and that it has not fetched. */
  readonly missing: Set<Digest>;
  /** Time of its last request. */
  readonly lastRequest: number;
}

/**
 * Remembers which clients have fetched a manifest but not all of its blobs: a client may pause between two layers to unpack one. A client
 * that skips a blob because it has it already looks the same as one that pauses.
 */
export class OpenPulls {
  readonly #pulls = new BoundedMap<string, Pull>(maxClients);

  /** Records that a client received a manifest. An index names no blobs. */
  manifestSent(client: string, bytes: Uint8Array): void {
    const manifest = parseManifest(bytes, undefined, 'manifest');
    if (manifest.kind === 'index') return;
    const missing = this.#pulls.get(client)?.missing ?? new Set();
    for (const blob of blobsOf(manifest)) if (missing.size < maxBlobs) missing.add(blob.digest);
    this.#record(client, missing);
  }

  /** Records that a client received a blob or a part of it. */
  blobSent(client: string, digest: Digest): void {
    const missing = this.#pulls.get(client)?.missing;
    if (missing === undefined) return;
    missing.delete(digest);
    this.#record(client, missing);
  }

  /** Returns the milliseconds until no client is expected to request another layer; 0 if none is. */
  timeLeft(): number {
    const last = Math.max(...[...this.#pulls.values()].map(({ lastRequest }) => lastRequest));
    return Math.max(0, last + patience - performance.now());
  }

  #record(client: string, missing: Set<Digest>): void {
    if (missing.size === 0) this.#pulls.remove(client);
    else this.#pulls.set(client, { missing, lastRequest: performance.now() });
  }
}

import type { Digest } from '../../oci/digest.js';
import { formatRepository, type Repository } from '../../oci/reference.js';

const most = 64;

/** A few manifests that will be asked for once more. Each is given out once. */
export class ManifestCache {
  readonly #held = new Map<string, Buffer>();

  put(repository: Repository, digest: Digest, bytes: Buffer): void {
    const oldest = this.#held.size >= most ? this.#held.keys().next().value : undefined;
    if (oldest !== undefined) this.#held.delete(oldest);
    this.#held.set(`${formatRepository(repository)}@${digest}`, bytes);
  }

  take(repository: Repository, digest: Digest): Buffer | undefined {
    const key = `${formatRepository(repository)}@${digest}`;
    const bytes = this.#held.get(key);
    this.#held.delete(key);
    return bytes;
  }
}

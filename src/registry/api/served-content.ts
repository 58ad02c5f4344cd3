import type { Digest } from '../../oci/digest.js';
import { formatRepository, type Repository } from '../../oci/reference.js';
import type { Endpoint } from '../config/endpoint.js';

/** The most entries that are kept; the oldest go first. */
const most = 4096;

function keep<K, V>(map: Map<K, V>, key: K, value: V): void {
  const oldest = map.size >= most && !map.has(key) ? map.keys().next() : undefined;
  if (oldest !== undefined && oldest.done !== true) map.delete(oldest.value);
  map.set(key, value);
}

/** Remembers which endpoint served a blob, so that another one is asked when the content was wrong. */
export class ServedContent {
  readonly #servers = new Map<string, string>();
  readonly #distrusted = new Map<Digest, Set<string>>();

  served(repository: Repository, digest: Digest, origin: string): void {
    keep(this.#servers, keyOf(repository, digest), origin);
  }

  /** The origins that served wrong content for a digest. */
  distrusted(digest: Digest): ReadonlySet<string> | undefined {
    return this.#distrusted.get(digest);
  }

  /**
   * Notes that what was served last was wrong.
   * @param endpoints where the content may be read
   * @returns whether one of them is left that is trusted
   */
  distrust(repository: Repository, digest: Digest, endpoints: readonly Endpoint[]): boolean {
    const origin = this.#servers.get(keyOf(repository, digest));
    if (origin === undefined || endpoints.length < 2) return false;
    const distrusted = this.#distrusted.get(digest) ?? new Set();
    if (distrusted.has(origin)) return false;
    keep(this.#distrusted, digest, distrusted.add(origin));
    return endpoints.some((endpoint) => !distrusted.has(endpoint.origin));
  }
}

function keyOf({ registry, repository }: Repository, digest: Digest): string {
  return `${formatRepository({ registry, repository })}@${digest}`;
}

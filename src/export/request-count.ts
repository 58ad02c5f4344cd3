import type { RegistryHooks, RequestTrace } from '../registry/config/options.js';
import { parseRateLimit } from '../registry/http/limits.js';

/** Request counts for one registry. */
export interface RequestCount {
  /** The registry's name in references; requests to its mirrors are included. */
  readonly registry: string;
  /** Manifests fetched: what registries with a pull limit count. */
  manifests: number;
  /** All other requests: HEAD requests for manifests, configs, referrers, tokens. */
  others: number;
  /** Pulls left, if the registry reports them. */
  remaining?: number | undefined;
  /** Pulls allowed, if the registry reports them. */
  limit?: number | undefined;
}

/** Counts requests by registry. */
export class RequestCounter {
  readonly #counts = new Map<string, RequestCount>();

  /** Returns hooks that count requests and then call `next`. */
  hooks(next: RegistryHooks = {}): RegistryHooks {
    return {
      ...next,
      trace: (trace) => {
        this.#count(trace);
        next.trace?.(trace);
      },
    };
  }

  /** Sorted by registry. */
  get counts(): readonly RequestCount[] {
    return [...this.#counts.values()].sort((a, b) => (a.registry < b.registry ? -1 : 1));
  }

  #count({ registry, method, url, responseHeaders }: RequestTrace): void {
    let count = this.#counts.get(registry);
    if (count === undefined) this.#counts.set(registry, (count = { registry, manifests: 0, others: 0 }));
    if (method === 'GET' && url.includes('/manifests/')) count.manifests++;
    else count.others++;
    count.remaining = parseRateLimit(responseHeaders['ratelimit-remaining'])?.count ?? count.remaining;
    count.limit = parseRateLimit(responseHeaders['ratelimit-limit'])?.count ?? count.limit;
  }
}

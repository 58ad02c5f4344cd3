import type { RegistryHooks, RequestTrace } from '../registry/config/options.js';
import { parseRateLimit } from '../registry/http/limits.js';

/** What one registry was asked. */
export interface AskedRegistry {
  /** As references name it; its mirrors are counted with it. */
  readonly registry: string;
  /** Manifests fetched: what registries with a download limit count. */
  manifests: number;
  /** All other requests: lookups by HEAD, configs, referrers, tokens. */
  others: number;
  /** What is left of its limit, where it told. */
  remaining?: number | undefined;
  limit?: number | undefined;
}

/** Counts requests, registry by registry. */
export class RequestTally {
  readonly #asked = new Map<string, AskedRegistry>();

  /** Hooks that count, and pass on. */
  hooks(next: RegistryHooks = {}): RegistryHooks {
    return {
      ...next,
      trace: (trace) => {
        this.#count(trace);
        next.trace?.(trace);
      },
    };
  }

  get asked(): readonly AskedRegistry[] {
    return [...this.#asked.values()].sort((a, b) => (a.registry < b.registry ? -1 : 1));
  }

  #count({ registry, method, url, responseHeaders }: RequestTrace): void {
    let asked = this.#asked.get(registry);
    if (asked === undefined) this.#asked.set(registry, (asked = { registry, manifests: 0, others: 0 }));
    if (method === 'GET' && url.includes('/manifests/')) asked.manifests++;
    else asked.others++;
    asked.remaining = parseRateLimit(responseHeaders['ratelimit-remaining'])?.count ?? asked.remaining;
    asked.limit = parseRateLimit(responseHeaders['ratelimit-limit'])?.count ?? asked.limit;
  }
}

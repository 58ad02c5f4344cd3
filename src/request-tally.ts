import type { RegistryHooks } from './registry/options.js';
import type { RequestTrace } from './registry/trace.js';

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

/** `76;w=21600` */
function countIn(header: string | undefined): number | undefined {
  const [digits] = /^\d{1,12}/.exec(header ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** Counts requests, registry by registry. */
export class RequestTally {
  readonly #asked = new Map<string, AskedRegistry>();

  /** Hooks that count, and pass on. */
  hooks(next: RegistryHooks = {}): RegistryHooks {
    return {
      warn: (text) => next.warn?.(text),
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
    asked.remaining = countIn(responseHeaders['ratelimit-remaining']) ?? asked.remaining;
    asked.limit = countIn(responseHeaders['ratelimit-limit']) ?? asked.limit;
  }
}

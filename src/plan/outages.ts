import { isAirliftError } from '../errors.js';

/** After so many failures in a row a registry is taken for gone: each of them was retried for a while already. */
const enough = 8;

/** Whether a registry may do later what it failed to do now. */
export function isOutage(error: unknown): boolean {
  return (
    isAirliftError(error, 'network', 'rate-limited') ||
    (isAirliftError(error, 'registry') && (error.status ?? 0) >= 500)
  );
}

/** Knows which registries are gone, so that a long list does not wait for each of its images in vain. */
export class Outages {
  readonly #inARow = new Map<string, { count: number; last: unknown }>();

  /** @throws what the registry failed with last, where it is taken for gone */
  check(registry: string): void {
    const failures = this.#inARow.get(registry);
    if (failures !== undefined && failures.count >= enough) throw failures.last;
  }

  succeeded(registry: string): void {
    this.#inARow.delete(registry);
  }

  failed(registry: string, error: unknown): void {
    if (!isOutage(error)) return this.succeeded(registry);
    this.#inARow.set(registry, { count: (this.#inARow.get(registry)?.count ?? 0) + 1, last: error });
  }
}

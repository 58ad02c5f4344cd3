import { isAirliftError, type AirliftError } from '../errors.js';

/** Consecutive failures after which a registry counts as gone: each of them was retried for a while already. */
const maxConsecutiveFailures = 8;

/** Reports whether a failure is transient: the same request may succeed later. */
export function isOutage(error: unknown): error is AirliftError {
  return (
    isAirliftError(error, 'network', 'rate-limited') ||
    (isAirliftError(error, 'registry') && (error.status ?? 0) >= 500)
  );
}

/** HTTP statuses of a registry, or of a proxy before it, that is down for a while. */
const downStatuses: ReadonlySet<number> = new Set([502, 503, 504]);

/** Reports whether a registry cannot provide a blob, no matter how often it is asked. */
export function isLoss(error: unknown): error is AirliftError {
  if (isAirliftError(error, 'registry')) return !downStatuses.has(error.status ?? 0);
  return isAirliftError(error, 'not-found', 'unauthorized', 'denied', 'digest-mismatch', 'size-mismatch');
}

/** Tracks which registries are gone, so that a long list does not wait for each of their images in vain. */
export class Outages {
  readonly #failures = new Map<string, { count: number; last: unknown }>();

  /** @throws the last failure of a registry that counts as gone */
  check(registry: string): void {
    const failures = this.#failures.get(registry);
    if (failures !== undefined && failures.count >= maxConsecutiveFailures) throw failures.last;
  }

  succeeded(registry: string): void {
    this.#failures.delete(registry);
  }

  failed(registry: string, error: unknown): void {
    if (!isOutage(error)) return this.succeeded(registry);
    this.#failures.set(registry, { count: (this.#failures.get(registry)?.count ?? 0) + 1, last: error });
  }
}

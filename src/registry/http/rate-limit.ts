import { headerOf, type WireAnswer } from './wire.js';

/** How many manifest downloads a registry still allows (Docker Hub's `ratelimit-*` headers, after draft-polli-ratelimit-headers). */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Seconds of the window that the limit is for. */
  readonly window: number | undefined;
}

/** A `ratelimit-*` header: `76;w=21600`, the window in seconds where there is one. */
export function parseRateLimit(
  header: string | undefined,
): { count: number; window: number | undefined } | undefined {
  const match = /^\s*(\d{1,12})\s*(?:;.*?\bw=(\d{1,9}))?/.exec(header ?? '');
  if (match === null) return undefined;
  return { count: Number(match[1]), window: match[2] === undefined ? undefined : Number(match[2]) };
}

/** Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`, where an answer has both. */
export function rateLimitOf(answer: Pick<WireAnswer, 'headers'>): RateLimit | undefined {
  const limit = parseRateLimit(headerOf(answer, 'ratelimit-limit'));
  const remaining = parseRateLimit(headerOf(answer, 'ratelimit-remaining'));
  if (limit === undefined || remaining === undefined) return undefined;
  return { limit: limit.count, remaining: remaining.count, window: limit.window ?? remaining.window };
}

/** What hosts said last of the downloads that they still allow, by origin. */
export class RateLimits {
  readonly #known = new Map<string, { readonly rateLimit: RateLimit; readonly told: number }>();

  of(origin: string): RateLimit | undefined {
    return this.#known.get(origin)?.rateLimit;
  }

  /**
   * Notes what an answer says. Of answers that crossed each other the lower one counts.
   * @param asked when its request was sent, by `performance.now()`
   */
  note(origin: string, rateLimit: RateLimit, asked: number): void {
    const known = this.#known.get(origin);
    const isOlder =
      known !== undefined && asked < known.told && known.rateLimit.remaining < rateLimit.remaining;
    const remaining = isOlder ? known.rateLimit.remaining : rateLimit.remaining;
    this.#known.set(origin, { rateLimit: { ...rateLimit, remaining }, told: performance.now() });
  }

  /** Notes a download of which the host said nothing. */
  spend(origin: string): void {
    const known = this.#known.get(origin);
    if (known === undefined) return;
    const { rateLimit, told } = known;
    this.#known.set(origin, {
      rateLimit: { ...rateLimit, remaining: Math.max(0, rateLimit.remaining - 1) },
      told,
    });
  }
}

import { AirliftError, interruption } from '../../errors.js';
import { pause, untilAborted } from '../../oci/pause.js';
import type { RateBudget } from '../config/options.js';
import { headerOf, type HasHeaders } from './headers.js';

const longestThrottle = 3_600_000;

/**
 * Limits the concurrent requests to a host: halves the limit when the host responds 429 (too many requests), and raises it by one after
 * as many good responses as the limit allows at a time.
 */
export class HostLimiter {
  #limit: number;
  #running = 0;
  #successes = 0;
  #throttledUntil = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly maxRequests: number,
    /** Aborted when the connections are closed. */
    readonly closing?: AbortSignal,
  ) {
    this.#limit = maxRequests;
  }

  /** Number of requests that may run at the same time now. */
  get limit(): number {
    return this.#limit;
  }

  /**
   * Waits for a slot, which the caller returns with `release`.
   * @throws AirliftError `interrupted`
   */
  async acquire(action: string, signal: AbortSignal | undefined): Promise<void> {
    await this.untilUnthrottled(action, signal);
    while (this.#running >= this.#limit) {
      await this.#nextTurn(action, signal);
      try {
        await this.untilUnthrottled(action, signal);
      } catch (error) {
        this.#wakeNext();
        throw error;
      }
    }
    this.#running++;
  }

  /**
   * Waits until the host accepts requests at all.
   * @throws AirliftError `interrupted`
   */
  async untilUnthrottled(action: string, signal: AbortSignal | undefined): Promise<void> {
    for (let left = this.#throttledFor(); left > 0; left = this.#throttledFor())
      await pause(left, action, signal, this.closing);
  }

  release(): void {
    this.#running--;
    this.#wakeNext();
  }

  /** Records a response with another status than 429. */
  recordSuccess(): void {
    if (this.#limit >= this.maxRequests || ++this.#successes < this.#limit) return;
    this.#successes = 0;
    this.#limit++;
    this.#wakeNext();
  }

  /** Lowers the limit, and holds all requests back for `milliseconds`. */
  throttle(milliseconds: number): void {
    this.#limit = Math.max(1, Math.floor(Math.min(this.#limit, Math.max(this.#running, 1)) / 2));
    this.#successes = 0;
    const until = Date.now() + Math.min(milliseconds, longestThrottle);
    this.#throttledUntil = Math.max(this.#throttledUntil, until);
  }

  #throttledFor(): number {
    return this.#throttledUntil - Date.now();
  }

  #nextTurn(action: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(interruption(action, signal));
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        signal?.removeEventListener('abort', stop);
        resolve();
      };
      const stop = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        if (signal !== undefined) reject(interruption(action, signal));
      };
      signal?.addEventListener('abort', stop, { once: true });
      this.#waiting.push(wake);
    });
  }

  #wakeNext(): void {
    if (this.#running < this.#limit) this.#waiting.shift()?.();
  }
}

/** The pull quota of a registry: manifest downloads (Docker Hub's `ratelimit-*` headers, after draft-polli-ratelimit-headers). */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Seconds of the period that the limit applies to. */
  readonly window: number | undefined;
}

/** Parses a `ratelimit-*` header such as `76;w=21600`, where `w` is the window in seconds. */
export function parseRateLimit(
  header: string | undefined,
): { count: number; window: number | undefined } | undefined {
  const match = /^\s*(\d{1,12})\s*(?:;.*?\bw=(\d{1,9}))?/.exec(header ?? '');
  if (match === null) return undefined;
  return { count: Number(match[1]), window: match[2] === undefined ? undefined : Number(match[2]) };
}

/** Reads the quota from the headers `ratelimit-limit` and `ratelimit-remaining`; undefined unless a response has both. */
export function rateLimitOf(response: HasHeaders): RateLimit | undefined {
  const limit = parseRateLimit(headerOf(response, 'ratelimit-limit'));
  const remaining = parseRateLimit(headerOf(response, 'ratelimit-remaining'));
  if (limit === undefined || remaining === undefined) return undefined;
  return { limit: limit.count, remaining: remaining.count, window: limit.window ?? remaining.window };
}

/** The latest known quota of each host, by origin. */
export class RateLimits {
  readonly #known = new Map<string, { readonly rateLimit: RateLimit; readonly receivedAt: number }>();

  of(origin: string): RateLimit | undefined {
    return this.#known.get(origin)?.rateLimit;
  }

  /**
   * Records the quota of a response. Of two responses whose requests overlapped, the lower one counts.
   * @param sentAt time at which the request was sent, by `performance.now()`
   */
  record(origin: string, rateLimit: RateLimit, sentAt: number): void {
    const known = this.#known.get(origin);
    const isLower =
      known !== undefined && sentAt < known.receivedAt && known.rateLimit.remaining < rateLimit.remaining;
    const remaining = isLower ? known.rateLimit.remaining : rateLimit.remaining;
    this.#known.set(origin, { rateLimit: { ...rateLimit, remaining }, receivedAt: performance.now() });
  }

  /** Counts a pull whose response did not report the quota. */
  countPull(origin: string): void {
    const known = this.#known.get(origin);
    if (known === undefined) return;
    const { rateLimit, receivedAt } = known;
    this.#known.set(origin, {
      rateLimit: { ...rateLimit, remaining: Math.max(0, rateLimit.remaining - 1) },
      receivedAt,
    });
  }
}

const shortestWait = 250;
const longestWait = 600_000;

export interface PullCall {
  readonly origin: string;
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
  /** Requests the current quota from the registry, without spending a pull. */
  refresh(): Promise<unknown>;
}

/** Returns the milliseconds until the quota probably allows one more pull, assuming a sliding window. */
function waitForOnePull(known: RateLimit): number {
  const perPull = ((known.window ?? 3600) * 1000) / Math.max(1, known.limit);
  return Math.min(longestWait, Math.max(shortestWait, perPull));
}

/** Keeps a run within the pull quota of a registry, so that no pull fails in the middle of the run. */
export class RateBudgetKeeper {
  readonly #warned = new Set<string>();
  /** Pulls without a response yet, by origin: the registry may not have counted them. */
  readonly #pending = new Map<string, number>();
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly rateLimits: RateLimits,
    readonly budget: RateBudget,
    readonly warn: (text: string) => void,
    /** Aborted when the connections are closed. */
    readonly closing?: AbortSignal,
  ) {}

  /**
   * Reserves one pull, if the registry has a quota.
   * @returns a function to call when the response has arrived
   * @throws AirliftError `rate-limited` if the quota is used up and the budget says to stop
   */
  async reserve(call: PullCall): Promise<() => void> {
    const { origin, action, signal } = call;
    const { keep = 0, whenSpent } = this.budget;
    for (;;) {
      const known = this.rateLimits.of(origin);
      const pending = this.#pending.get(origin) ?? 0;
      if (known === undefined || known.remaining - pending > keep) return this.#begin(origin, known);
      if (pending > 0) {
        await untilAborted(new Promise<void>((done) => this.#waiting.push(done)), action, signal);
        continue;
      }
      const hours = known.window === undefined ? '' : ` in ${Math.round(known.window / 360) / 10} h`;
      const left = `${known.remaining} of ${known.limit} pulls${hours} left`;
      if (whenSpent === 'stop')
        throw new AirliftError(
          'rate-limited',
          `${action}: the pull quota is used up; got ${left}, want more than ${keep}`,
          { hint: 'run the same command again later; it resumes and fetches nothing twice' },
        );
      if (!this.#warned.has(origin)) {
        this.#warned.add(origin);
        this.warn(`${origin}: waiting for the pull quota; ${left}`);
      }
      await pause(waitForOnePull(known), action, signal, this.closing);
      await call.refresh();
    }
  }

  #begin(origin: string, known: RateLimit | undefined): () => void {
    this.#pending.set(origin, (this.#pending.get(origin) ?? 0) + 1);
    return () => {
      this.#pending.set(origin, (this.#pending.get(origin) ?? 1) - 1);
      if (known !== undefined && this.rateLimits.of(origin) === known) this.rateLimits.countPull(origin);
      for (const wake of this.#waiting.splice(0)) wake();
    };
  }
}

import { AirliftError, interruption } from '../../errors.js';
import { pause, untilAborted } from '../../oci/pause.js';
import type { RateBudget } from '../config/options.js';
import { headerOf, type HasHeaders } from './headers.js';

const longestQuiet = 3_600_000;

/**
 * Keeps the number of requests that a host answers at a time: halved when the host says that there are too many (429), one
 * more after as many good answers as are allowed at a time.
 */
export class HostLimiter {
  #limit: number;
  #running = 0;
  #good = 0;
  #quietUntil = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly most: number,
    /** Aborted when the connections are closed. */
    readonly closing?: AbortSignal,
  ) {
    this.#limit = most;
  }

  /** How many requests may run at a time now. */
  get limit(): number {
    return this.#limit;
  }

  /**
   * Waits for a place, which must be given back with `leave`.
   * @throws AirliftError `interrupted`
   */
  async enter(doing: string, signal: AbortSignal | undefined): Promise<void> {
    await this.quiet(doing, signal);
    while (this.#running >= this.#limit) {
      await this.#turn(doing, signal);
      try {
        await this.quiet(doing, signal);
      } catch (error) {
        this.#wake();
        throw error;
      }
    }
    this.#running++;
  }

  /**
   * Waits while the host wants no requests at all.
   * @throws AirliftError `interrupted`
   */
  async quiet(doing: string, signal: AbortSignal | undefined): Promise<void> {
    for (let left = this.#left(); left > 0; left = this.#left())
      await pause(left, doing, signal, this.closing);
  }

  leave(): void {
    this.#running--;
    this.#wake();
  }

  /** Notes an answer that was none of too many. */
  good(): void {
    if (this.#limit >= this.most || ++this.#good < this.#limit) return;
    this.#good = 0;
    this.#limit++;
    this.#wake();
  }

  /** Notes that the host wants fewer requests, and none for `milliseconds`. */
  tooMany(milliseconds: number): void {
    this.#limit = Math.max(1, Math.floor(Math.min(this.#limit, Math.max(this.#running, 1)) / 2));
    this.#good = 0;
    this.#quietUntil = Math.max(this.#quietUntil, Date.now() + Math.min(milliseconds, longestQuiet));
  }

  #left(): number {
    return this.#quietUntil - Date.now();
  }

  #turn(doing: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(interruption(doing, signal));
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal?.removeEventListener('abort', stop);
        resolve();
      };
      const stop = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        if (signal !== undefined) reject(interruption(doing, signal));
      };
      signal?.addEventListener('abort', stop, { once: true });
      this.#waiting.push(go);
    });
  }

  #wake(): void {
    if (this.#running < this.#limit) this.#waiting.shift()?.();
  }
}

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
export function rateLimitOf(answer: HasHeaders): RateLimit | undefined {
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

const shortestStep = 250;
const longestStep = 600_000;

export interface SpendCall {
  readonly origin: string;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** Asks the registry anew how many downloads are left, without spending one. */
  refresh(): Promise<unknown>;
}

/** Milliseconds until one more download is likely allowed, where the window slides. */
function stepOf(known: RateLimit): number {
  const step = ((known.window ?? 3600) * 1000) / Math.max(1, known.limit);
  return Math.min(longestStep, Math.max(shortestStep, step));
}

/** Keeps a run within the downloads that a registry allows, so that it does not fail in the middle. */
export class RateBudgetKeeper {
  readonly #warned = new Set<string>();
  /** Downloads whose answers have not come yet, by origin: the host may not have counted them. */
  readonly #underWay = new Map<string, number>();
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly rateLimits: RateLimits,
    readonly budget: RateBudget,
    readonly warn: (text: string) => void,
    /** Aborted when the connections are closed. */
    readonly closing?: AbortSignal,
  ) {}

  /**
   * Takes one download, where the registry counts them.
   * @returns what is to be called once the download is answered
   * @throws AirliftError `rate-limited` where none is left and the budget says to stop
   */
  async take(call: SpendCall): Promise<() => void> {
    const { origin, doing, signal } = call;
    const { keep = 0, whenSpent } = this.budget;
    for (;;) {
      const known = this.rateLimits.of(origin);
      const underWay = this.#underWay.get(origin) ?? 0;
      if (known === undefined || known.remaining - underWay > keep) return this.#begin(origin, known);
      if (underWay > 0) {
        await untilAborted(new Promise<void>((done) => this.#waiting.push(done)), doing, signal);
        continue;
      }
      const hours = known.window === undefined ? '' : ` in ${Math.round(known.window / 360) / 10} h`;
      const left = `${known.remaining} of ${known.limit} downloads${hours} left`;
      if (whenSpent === 'stop')
        throw new AirliftError(
          'rate-limited',
          `${doing}: the rate budget is spent; got ${left}, want more than ${keep}`,
          {
            hint: 'run the same command again later; what is there is not fetched again',
          },
        );
      if (!this.#warned.has(origin)) {
        this.#warned.add(origin);
        this.warn(`${origin}: waiting for the rate budget; ${left}`);
      }
      await pause(stepOf(known), doing, signal, this.closing);
      await call.refresh();
    }
  }

  #begin(origin: string, known: RateLimit | undefined): () => void {
    const { rateLimits } = this;
    this.#underWay.set(origin, (this.#underWay.get(origin) ?? 0) + 1);
    return () => {
      this.#underWay.set(origin, (this.#underWay.get(origin) ?? 1) - 1);
      if (known !== undefined && rateLimits.of(origin) === known) rateLimits.spend(origin);
      for (const wake of this.#waiting.splice(0)) wake();
    };
  }
}

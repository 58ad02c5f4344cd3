import { AirliftError } from '../errors.js';
import { pause } from './backoff.js';
import type { Exchange } from './exchange.js';
import type { RateBudget } from './options.js';
import type { RateLimit } from './rate-limit.js';

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

  constructor(
    readonly exchange: Exchange,
    readonly budget: RateBudget,
    readonly warn: (text: string) => void,
  ) {}

  /**
   * Takes one download, where the registry counts them.
   * @throws AirliftError `rate-limited` where none is left and the budget says to stop
   */
  async take(call: SpendCall): Promise<void> {
    const { origin, doing, signal } = call;
    const { keep = 0, whenSpent } = this.budget;
    for (;;) {
      const known = this.exchange.rateLimit(origin);
      if (known === undefined) return;
      if (known.remaining > keep) {
        this.exchange.setRateLimit(origin, { ...known, remaining: known.remaining - 1 });
        return;
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
      await pause(stepOf(known), doing, signal);
      await call.refresh();
    }
  }
}

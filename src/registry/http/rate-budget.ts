import { AirliftError } from '../../errors.js';
import { pause, untilAborted } from '../../oci/pause.js';
import type { Exchange } from './exchange.js';
import type { RateBudget } from '../config/options.js';
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
  /** Downloads whose answers have not come yet, by origin: the host may not have counted them. */
  readonly #underWay = new Map<string, number>();
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly exchange: Exchange,
    readonly budget: RateBudget,
    readonly warn: (text: string) => void,
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
      const known = this.exchange.rateLimits.of(origin);
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
      await pause(stepOf(known), doing, signal, this.exchange.settings.closing);
      await call.refresh();
    }
  }

  #begin(origin: string, known: RateLimit | undefined): () => void {
    const { rateLimits } = this.exchange;
    this.#underWay.set(origin, (this.#underWay.get(origin) ?? 0) + 1);
    return () => {
      this.#underWay.set(origin, (this.#underWay.get(origin) ?? 1) - 1);
      if (known !== undefined && rateLimits.of(origin) === known) rateLimits.spend(origin);
      for (const wake of this.#waiting.splice(0)) wake();
    };
  }
}

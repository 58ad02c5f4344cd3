import { interruption } from '../../errors.js';
import { pause } from '../../oci/pause.js';

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

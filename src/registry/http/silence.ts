/** Milliseconds of silence after which a notice says what a request waits for. */
const defaultPatience = 5000;

/** Milliseconds after which the notice about a silent host is repeated. */
const again = 30_000;

/** A request that waits. */
export interface Listening {
  /** The host answered: from here on only the rest of the answer is waited for. */
  answered(): void;
  end(): void;
}

/** Says what a run waits for when a host stays silent: once for each host, however many requests wait for it. */
export class Silence {
  /** When a host was last named, by `performance.now()`. */
  readonly #told = new Map<string, number>();

  constructor(
    private readonly tell: (text: string) => void,
    private readonly patience = defaultPatience,
  ) {}

  /**
   * Begins to wait.
   * @param pause milliseconds of a wait before a retry; undefined while an answer is waited for
   */
  begin(host: string, doing: string, pause?: number): Listening {
    const begun = performance.now();
    let what = 'an answer';
    let timer: NodeJS.Timeout | undefined;
    const check = (): void => {
      timer = setTimeout(check, again);
      const now = performance.now();
      if (now - (this.#told.get(host) ?? -Infinity) < again / 2) return;
      this.#told.set(host, now);
      const seconds = Math.round((now - begun) / 1000);
      this.tell(
        pause === undefined
          ? `waiting for ${what} of ${host} for ${seconds} s: ${doing}`
          : `waiting ${Math.ceil(pause / 1000)} s before ${host} is asked again: ${doing}`,
      );
    };
    if (pause === undefined || pause > this.patience) timer = setTimeout(check, this.patience);
    return {
      answered: () => void (what = 'the rest of an answer'),
      end: () => clearTimeout(timer),
    };
  }
}

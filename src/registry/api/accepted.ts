import type { Digest } from '../../oci/digest.js';
import { backoff, pause } from '../../oci/pause.js';
import { formatRepository, type Repository } from '../../oci/reference.js';
import { BoundedMap } from '../../bounded-map.js';

/** The most digests and tags to remember: more than a large run pushes within the time in which registries settle. */
const maxRemembered = 20_000;
/** The longest wait between two attempts, in milliseconds. */
const longestWait = 3000;

/** The part of the settle time granted to a mounted blob (it can be uploaded instead) and to a registry that used all of it in vain. */
const smallShare = 0.1;

/** The outcome of one attempt: a value or an error. */
export interface Outcome<T> {
  readonly value?: T | undefined;
  readonly error?: unknown;
}

interface RetriedCall<T> {
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
  attempt(): Promise<T>;
  /** Whether a later attempt may have another outcome. */
  mayChange(outcome: Outcome<T>): boolean;
}

/**
 * Content that registries accepted or showed in this run. Some registries (ACR, Nexus, OpenShift) answer 404 for a moment after a push:
 * requests for content that a registry is known to hold are retried for a bounded time.
 */
export class AcceptedContent {
  /** Milliseconds for which requests for known content are retried. */
  readonly #settleTimes = new BoundedMap<string, number>(maxRemembered);
  readonly #tags = new BoundedMap<string, Digest>(maxRemembered);
  /** Registries that did not show accepted content within the whole settle time. */
  readonly #slowRegistries = new Set<string>();

  /**
   * @param settleTime milliseconds for which a request for accepted content is retried
   * @param firstWait milliseconds of the first wait; each further wait doubles it
   */
  constructor(
    readonly settleTime: number,
    readonly firstWait: number,
  ) {}

  /** Records that a repository holds content. A blob that the registry has shown once is not waited for. */
  record(repository: Repository, digest: Digest, how: 'pushed' | 'mounted' | 'seen'): void {
    const key = keyOf(repository, digest);
    if (how === 'seen' && this.#settleTimes.has(key)) return;
    const share = { pushed: 1, mounted: smallShare, seen: 0 }[how];
    this.#settleTimes.set(key, this.settleTime * share);
  }

  recordTag(repository: Repository, tag: string, digest: Digest): void {
    this.record(repository, digest, 'pushed');
    this.#tags.set(keyOf(repository, tag), digest);
  }

  holds(repository: Repository, ...digests: readonly Digest[]): boolean {
    return digests.every((digest) => this.#settleTimes.has(keyOf(repository, digest)));
  }

  /** Returns the digest that this run last gave a tag. */
  digestOfTag(repository: Repository, tag: string): Digest | undefined {
    return this.#tags.get(keyOf(repository, tag));
  }

  /** Requests content once; for content that the repository is known to hold, retries for its settle time. */
  async find<T>(repository: Repository, digest: Digest, call: RetriedCall<T>): Promise<T> {
    const time = this.#settleTimes.get(keyOf(repository, digest));
    if (time === undefined) return call.attempt();
    return this.retry(repository, call, time);
  }

  /** Retries until the outcome cannot change any more or the time is over, and returns or throws the last outcome. */
  async retry<T>({ registry }: Repository, call: RetriedCall<T>, time = this.settleTime): Promise<T> {
    const end = Date.now() + time * (this.#slowRegistries.has(registry) ? smallShare : 1);
    for (let attempt = 1; ; attempt++) {
      const wait = backoff(attempt, this.firstWait, longestWait);
      const shouldRetry = (outcome: Outcome<T>): boolean => {
        if (!call.mayChange(outcome)) return false;
        const isTimeLeft = Date.now() + wait <= end;
        if (!isTimeLeft && time === this.settleTime) this.#slowRegistries.add(registry);
        return isTimeLeft;
      };
      try {
        const value = await call.attempt();
        if (!shouldRetry({ value })) return value;
      } catch (error) {
        if (!shouldRetry({ error })) throw error;
      }
      await pause(wait, call.action, call.signal);
    }
  }
}

function keyOf(repository: Repository, name: string): string {
  return `${formatRepository(repository)} ${name}`;
}

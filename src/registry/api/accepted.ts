import type { Digest } from '../../oci/digest.js';
import { formatRepository, type Repository } from '../../oci/reference.js';
import { backoff, pause } from '../../oci/pause.js';

/** The most that is remembered; the oldest is forgotten first. */
const maxRemembered = 20_000;
/** Milliseconds of the longest wait between two looks. */
const longestWait = 3000;

/** The share of the time for a mounted blob, which can be uploaded instead, and at a registry that used all of it in vain. */
const smallShare = 0.1;

/** What came of a look: a value, or what was thrown. */
export interface Outcome<T> {
  readonly value?: T | undefined;
  readonly error?: unknown;
}

interface SettleCall<T> {
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  look(): Promise<T>;
  /** Whether an outcome is one that a moment may change. */
  mayPass(outcome: Outcome<T>): boolean;
}

/**
 * What registries accepted or were seen to hold in this run. Some (ACR, Nexus, OpenShift) answer 404 for a moment after that:
 * what they are known to hold is looked for again, for a bounded time.
 */
export class Accepted {
  /** What is held, with the milliseconds for which it is looked for again. */
  readonly #held = new Map<string, number>();
  readonly #tags = new Map<string, Digest>();
  /** Registries that did not show something in all of the time. */
  readonly #late = new Set<string>();

  /**
   * @param time milliseconds for which something is looked for again
   * @param firstWait milliseconds of the first wait; it doubles from there
   */
  constructor(
    readonly time: number,
    readonly firstWait: number,
  ) {}

  /** Notes what a repository holds. A blob that it has shown once is not waited for again. */
  note(repository: Repository, digest: Digest, how: 'pushed' | 'mounted' | 'seen'): void {
    const key = keyOf(repository, digest);
    if (how === 'seen' && this.#held.has(key)) return;
    const share = { pushed: 1, mounted: smallShare, seen: 0 }[how];
    remember(this.#held, key, this.time * share);
  }

  noteTag(repository: Repository, tag: string, digest: Digest): void {
    this.note(repository, digest, 'pushed');
    remember(this.#tags, keyOf(repository, tag), digest);
  }

  holds(repository: Repository, ...digests: readonly Digest[]): boolean {
    return digests.every((digest) => this.#held.has(keyOf(repository, digest)));
  }

  tagOf(repository: Repository, tag: string): Digest | undefined {
    return this.#tags.get(keyOf(repository, tag));
  }

  /** Looks for content; again and again, for a bounded time, where it is known to be held. */
  async shown<T>(repository: Repository, digest: Digest, call: SettleCall<T>): Promise<T> {
    const time = this.#held.get(keyOf(repository, digest));
    if (time === undefined) return call.look();
    return this.settle(repository, call, time);
  }

  /** Looks again and again until the outcome is lasting or the time is over; the last outcome counts. */
  async settle<T>({ registry }: Repository, call: SettleCall<T>, time = this.time): Promise<T> {
    const end = Date.now() + time * (this.#late.has(registry) ? smallShare : 1);
    for (let attempt = 1; ; attempt++) {
      const wait = backoff(attempt, this.firstWait, longestWait);
      const mayPass = (outcome: Outcome<T>): boolean => {
        if (!call.mayPass(outcome)) return false;
        const isLeft = Date.now() + wait <= end;
        if (!isLeft && time === this.time) this.#late.add(registry);
        return isLeft;
      };
      try {
        const value = await call.look();
        if (!mayPass({ value })) return value;
      } catch (error) {
        if (!mayPass({ error })) throw error;
      }
      await pause(wait, call.doing, call.signal);
    }
  }
}

function keyOf(repository: Repository, name: string): string {
  return `${formatRepository(repository)} ${name}`;
}

function remember<T>(known: Map<string, T>, key: string, value: T): void {
  known.delete(key);
  for (const oldest of known.keys()) {
    if (known.size < maxRemembered) break;
    known.delete(oldest);
  }
  known.set(key, value);
}

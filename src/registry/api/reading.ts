import { AirliftError } from '../../errors.js';
import { formatRepository, type Repository } from '../../oci/reference.js';
import type { Endpoint, EndpointBook, Wanted } from '../config/endpoint.js';

/** Milliseconds for which an endpoint that failed is not asked, after its first failure; doubled by each further one. */
const firstRest = 60_000;
const longestRest = 3_600_000;

/** How an endpoint that others stand in for does. */
interface Health {
  readonly failures: number;
  readonly error: AirliftError;
  /** Not asked before this time (milliseconds of the epoch). */
  readonly until: number;
}

/** What is read, and how. */
export interface Read {
  readonly wanted: Wanted;
  /** Nobody named the thing, and mostly it does not exist: "no" of one endpoint is enough where another is down. */
  readonly isGuess?: boolean | undefined;
  /** Origins whose content was wrong. */
  readonly distrusted?: ReadonlySet<string> | undefined;
}

/** Reads from the mirrors of a repository, then from the registry itself. */
export class Reading {
  readonly #resting = new Map<string, Health>();
  readonly #warned = new Set<string>();
  readonly #noted = new Set<string>();

  constructor(
    readonly book: EndpointBook,
    readonly tell: {
      /** A mirror that is at fault. */
      readonly warn: (text: string) => void;
      /** Which mirror served a repository, or that the registry did in their place. */
      readonly note: (text: string) => void;
    },
    readonly now: () => number = Date.now,
  ) {}

  /**
   * The first answer that one of the endpoints gives. An endpoint that is down rests, so that not each request waits for it.
   * @throws AirliftError what the registry itself threw, else what the last endpoint threw; for a guess `not-found` where one
   *   endpoint said so and the others are down
   */
  async first<T>(
    name: Repository,
    { wanted, isGuess = false, distrusted }: Read,
    attempt: (endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    const endpoints = await this.book.forReading(name, wanted);
    const trusted = endpoints.filter(({ origin }) => distrusted?.has(origin) !== true);
    const asked = this.#awake(trusted.length > 0 ? trusted : endpoints, wanted, isGuess);
    const isMirrored = isGuess && (await this.book.forReading(name, 'digest')).length > 1;
    let own: AirliftError | undefined;
    let missing: AirliftError | undefined;
    for (const [at, endpoint] of asked.entries()) {
      const isLast = at === asked.length - 1;
      // Where a mirror gives the image, nothing depends on what is only guessed at.
      const hasAlternative = !isLast || isMirrored;
      try {
        const answer = await attempt({ ...endpoint, hasAlternative });
        this.#resting.delete(endpoint.origin);
        if (endpoints.length > 1 && wanted !== 'list') this.#noteServed(endpoint, name);
        return answer;
      } catch (error) {
        if (!(error instanceof AirliftError)) throw error;
        if (error.code === 'interrupted' || error.code === 'unsupported') throw own ?? error;
        if (!endpoint.isMirror) own = error;
        if (error.code === 'not-found') missing ??= error;
        if (wanted === 'list' && !isGuess && !isDown(error)) throw error;
        if (hasAlternative) this.#noteFault(endpoint, name, error, isGuess);
        if (!isLast) continue;
        throw (isGuess ? missing : undefined) ?? own ?? error;
      }
    }
    throw new AirliftError('not-found', `read ${formatRepository(name)}: no endpoint to read from`);
  }

  /**
   * The endpoints to ask: without those that are down, as long as one is left that may know the answer.
   * @throws AirliftError for a guess, what the endpoints failed with, where all of them are down
   */
  #awake(endpoints: readonly Endpoint[], wanted: Wanted, isGuess: boolean): readonly Endpoint[] {
    const now = this.now();
    const isAwake = ({ origin }: Endpoint): boolean => (this.#resting.get(origin)?.until ?? 0) <= now;
    const mayRest = ({ isMirror }: Endpoint): boolean => isMirror || isGuess || wanted === 'list';
    const awake = endpoints.filter((endpoint) => !mayRest(endpoint) || isAwake(endpoint));
    if (awake.length > 0) return awake;
    const [down] = endpoints.flatMap(({ origin }) => this.#resting.get(origin) ?? []);
    if (isGuess && down !== undefined) throw down.error;
    return endpoints;
  }

  #noteServed(endpoint: Endpoint, name: Repository): void {
    const by = endpoint.isMirror ? 'mirror' : 'the registry itself,';
    const text = `${formatRepository(name)}: served by ${by} ${endpoint.origin}`;
    if (this.#noted.has(text)) return;
    this.#noted.add(text);
    this.tell.note(text);
  }

  #noteFault(endpoint: Endpoint, name: Repository, error: AirliftError, isGuess: boolean): void {
    const { origin, isMirror } = endpoint;
    if (isDown(error)) {
      // Requests that failed side by side are one failure.
      const before = this.#resting.get(origin);
      const now = this.now();
      if (before === undefined || before.until <= now) {
        const failures = (before?.failures ?? 0) + 1;
        this.#resting.set(origin, {
          failures,
          error,
          until: now + Math.min(longestRest, firstRest * 2 ** (failures - 1)),
        });
      }
    }
    const key = `${origin} ${error.code}`;
    if (error.code === 'not-found' || this.#warned.has(key)) return;
    this.#warned.add(key);
    const what = isMirror ? 'mirror' : 'registry';
    const left = isGuess && !isMirror ? '; signatures that only it has are left out' : '';
    this.tell.warn(
      `${what} ${origin} did not serve ${formatRepository(name)}, going on elsewhere: ${error.message}${left}`,
    );
  }
}

/** Whether an endpoint failed as a whole, so that the next request would fail as well. */
function isDown(error: AirliftError): boolean {
  return (
    error.code === 'network' ||
    error.code === 'tls' ||
    error.code === 'rate-limited' ||
    (error.code === 'registry' && (error.status ?? 0) >= 500)
  );
}

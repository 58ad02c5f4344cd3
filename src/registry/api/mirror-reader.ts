import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { formatRepository, type Repository } from '../../oci/reference.js';
import type { Endpoint, EndpointResolver, Lookup } from '../config/endpoint.js';
import { BoundedMap } from '../../bounded-map.js';

/** How long an endpoint is skipped after its first failure, in milliseconds; each further failure doubles it. */
const firstRest = 60_000;
const longestRest = 3_600_000;

/** The most blobs whose server is remembered. */
const maxRemembered = 4096;

/** The failures of an endpoint that has alternatives. */
interface Health {
  readonly failures: number;
  readonly error: AirliftError;
  /** Time before which the endpoint is skipped, in milliseconds of the epoch. */
  readonly restsUntil: number;
}

/** What to read, and which endpoints to prefer. */
export interface Read {
  readonly lookup: Lookup;
  /** The content is optional and rarely exists: one "not found" is enough where other endpoints are down. */
  readonly isGuess?: boolean | undefined;
  /** Origins that served wrong content. */
  readonly distrusted?: ReadonlySet<string> | undefined;
}

/** Reads from the mirrors of a repository, then from the registry itself. */
export class MirrorReader {
  readonly #resting = new Map<string, Health>();
  readonly #warned = new Set<string>();
  readonly #noted = new Set<string>();

  constructor(
    readonly endpoints: EndpointResolver,
    readonly report: {
      /** Reports a mirror that failed. */
      readonly warn: (text: string) => void;
      /** Reports which mirror served a repository, or that the registry did instead. */
      readonly note: (text: string) => void;
    },
    readonly now: () => number = Date.now,
  ) {}

  /**
   * Returns the first successful response of the endpoints. An endpoint that is down is skipped for a while, so that not every request
   * waits for it.
   * @throws AirliftError the error of the registry itself, else that of the last endpoint; for a guess `not-found` if one endpoint
   *   reported that and the others are down
   */
  async readFirst<T>(
    name: Repository,
    { lookup, isGuess = false, distrusted }: Read,
    attempt: (endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    const endpoints = await this.endpoints.forReading(name, lookup);
    const trusted = endpoints.filter(({ origin }) => distrusted?.has(origin) !== true);
    const candidates = this.#withoutResting(trusted.length > 0 ? trusted : endpoints, lookup, isGuess);
    const isMirrored = isGuess && (await this.endpoints.forReading(name, 'digest')).length > 1;
    let ownError: AirliftError | undefined;
    let notFound: AirliftError | undefined;
    for (const [at, endpoint] of candidates.entries()) {
      const isLast = at === candidates.length - 1;
      // A guess is never needed: where mirrors serve the image, no endpoint has to be waited for.
      const hasAlternative = !isLast || isMirrored;
      try {
        const result = await attempt({ ...endpoint, hasAlternative });
        this.#resting.delete(endpoint.origin);
        if (endpoints.length > 1 && lookup !== 'list') this.#noteServed(endpoint, name);
        return result;
      } catch (error) {
        if (!(error instanceof AirliftError)) throw error;
        if (error.code === 'interrupted' || error.code === 'unsupported') throw ownError ?? error;
        if (!endpoint.isMirror) ownError = error;
        if (error.code === 'not-found') notFound ??= error;
        if (lookup === 'list' && !isGuess && !isDown(error)) throw error;
        if (hasAlternative) this.#recordFailure(endpoint, name, error, isGuess);
        if (!isLast) continue;
        throw (isGuess ? notFound : undefined) ?? ownError ?? error;
      }
    }
    throw new AirliftError('not-found', `read ${formatRepository(name)}: no endpoint to read from`);
  }

  /**
   * Leaves out endpoints that are down, as long as one is left that may serve the content.
   * @throws AirliftError for a guess, the first endpoint's error if all of them are down
   */
  #withoutResting(endpoints: readonly Endpoint[], lookup: Lookup, isGuess: boolean): readonly Endpoint[] {
    const now = this.now();
    const isAwake = ({ origin }: Endpoint): boolean => (this.#resting.get(origin)?.restsUntil ?? 0) <= now;
    const maySkip = ({ isMirror }: Endpoint): boolean => isMirror || isGuess || lookup === 'list';
    const awake = endpoints.filter((endpoint) => !maySkip(endpoint) || isAwake(endpoint));
    if (awake.length > 0) return awake;
    const [down] = endpoints.flatMap(({ origin }) => this.#resting.get(origin) ?? []);
    if (isGuess && down !== undefined) throw down.error;
    return endpoints;
  }

  #noteServed(endpoint: Endpoint, name: Repository): void {
    const server = endpoint.isMirror ? 'mirror' : 'the registry itself,';
    const text = `${formatRepository(name)}: served by ${server} ${endpoint.origin}`;
    if (this.#noted.has(text)) return;
    this.#noted.add(text);
    this.report.note(text);
  }

  #recordFailure(endpoint: Endpoint, name: Repository, error: AirliftError, isGuess: boolean): void {
    const { origin, isMirror } = endpoint;
    if (isDown(error)) {
      // Concurrent requests that failed count as one failure.
      const health = this.#resting.get(origin);
      const now = this.now();
      if (health === undefined || health.restsUntil <= now) {
        const failures = (health?.failures ?? 0) + 1;
        const restsUntil = now + Math.min(longestRest, firstRest * 2 ** (failures - 1));
        this.#resting.set(origin, { failures, error, restsUntil });
      }
    }
    const key = `${origin} ${error.code}`;
    if (error.code === 'not-found' || this.#warned.has(key)) return;
    this.#warned.add(key);
    const kind = isMirror ? 'mirror' : 'registry';
    const omitted = isGuess && !isMirror ? '; signatures that only this registry has are omitted' : '';
    this.report.warn(
      `${kind} ${origin} did not serve ${formatRepository(name)}, trying the next endpoint: ${error.message}${omitted}`,
    );
  }
}

/** Whether an error means that the endpoint is down as a whole, so that the next request would fail too. */
function isDown(error: AirliftError): boolean {
  return (
    error.code === 'network' ||
    error.code === 'tls' ||
    error.code === 'rate-limited' ||
    (error.code === 'registry' && (error.status ?? 0) >= 500)
  );
}

/** Remembers which endpoint served a blob, so that wrong content is fetched from another one. */
export class ServedContent {
  readonly #servers = new BoundedMap<string, string>(maxRemembered);
  readonly #distrusted = new BoundedMap<Digest, Set<string>>(maxRemembered);

  recordServer(repository: Repository, digest: Digest, origin: string): void {
    this.#servers.set(keyOf(repository, digest), origin);
  }

  /** Returns the origins that served wrong content for a digest. */
  distrusted(digest: Digest): ReadonlySet<string> | undefined {
    return this.#distrusted.get(digest);
  }

  /**
   * Records that the content served last was wrong.
   * @param endpoints endpoints that may serve the content
   * @returns whether one of them is still trusted
   */
  distrust(repository: Repository, digest: Digest, endpoints: readonly Endpoint[]): boolean {
    const origin = this.#servers.get(keyOf(repository, digest));
    if (origin === undefined || endpoints.length < 2) return false;
    const distrusted = this.#distrusted.get(digest) ?? new Set();
    if (distrusted.has(origin)) return false;
    this.#distrusted.set(digest, distrusted.add(origin));
    return endpoints.some((endpoint) => !distrusted.has(endpoint.origin));
  }
}

function keyOf(repository: Repository, digest: Digest): string {
  return `${formatRepository(repository)}@${digest}`;
}

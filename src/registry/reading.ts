import { AirliftError } from '../errors.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import type { Endpoint, EndpointBook, Wanted } from './endpoint.js';

/** Milliseconds for which a mirror that could not be reached is not asked again. */
const restAfterFault = 60_000;

/** Reads from the mirrors of a repository, then from the registry itself. */
export class Reading {
  readonly #resting = new Map<string, number>();
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
  ) {}

  /**
   * The first answer that one of the endpoints gives.
   * @throws AirliftError what the last one threw, which is the registry itself unless a list is wanted
   */
  async first<T>(name: Repository, wanted: Wanted, attempt: (endpoint: Endpoint) => Promise<T>): Promise<T> {
    const endpoints = await this.book.forReading(name, wanted);
    const now = Date.now();
    const awake = endpoints.filter(
      ({ origin, isMirror }) => !isMirror || (this.#resting.get(origin) ?? 0) <= now,
    );
    let own: AirliftError | undefined;
    for (const [at, endpoint] of awake.entries()) {
      try {
        const answer = await attempt(endpoint);
        if (endpoints.length > 1 && wanted !== 'list') this.#noteServed(endpoint, name);
        return answer;
      } catch (error) {
        if (!(error instanceof AirliftError)) throw error;
        if (!endpoint.isMirror) own = error;
        if (at === awake.length - 1 || error.code === 'interrupted' || error.code === 'unsupported')
          throw own ?? error;
        if (wanted === 'list' && error.code !== 'network' && error.code !== 'tls') throw error;
        this.#noteFault(endpoint, name, error);
      }
    }
    throw own ?? new AirliftError('not-found', `read ${formatRepository(name)}: nowhere to read it from`);
  }

  #noteServed(endpoint: Endpoint, name: Repository): void {
    const by = endpoint.isMirror ? 'mirror' : 'the registry itself,';
    const text = `${formatRepository(name)}: served by ${by} ${endpoint.origin}`;
    if (this.#noted.has(text)) return;
    this.#noted.add(text);
    this.tell.note(text);
  }

  #noteFault(endpoint: Endpoint, name: Repository, error: AirliftError): void {
    if (error.code === 'network' || error.code === 'tls')
      this.#resting.set(endpoint.origin, Date.now() + restAfterFault);
    const key = `${endpoint.origin} ${error.code}`;
    if (error.code === 'not-found' || this.#warned.has(key)) return;
    this.#warned.add(key);
    const what = endpoint.isMirror ? 'mirror' : 'registry';
    this.tell.warn(
      `${what} ${endpoint.origin} did not serve ${formatRepository(name)}, going on elsewhere: ${error.message}`,
    );
  }
}

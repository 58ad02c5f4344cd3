import { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { backoff, pause } from '../../oci/pause.js';
import { discard, isPassing, readBody } from './answers.js';
import { isUnreachable } from './faults.js';
import { redactAddress, redactHeaders, redactUrl, type Secrets } from './trace.js';
import type { RequestTrace } from '../config/options.js';
import { HostLimiter, rateLimitOf, RateLimits } from './limits.js';
import { headerOf, lengthOf, parseRetryAfter } from './headers.js';
import type { Wire, WireAnswer, WireRequest } from './wire.js';

/** A request that may be redirected and tried again. */
export interface ExchangeRequest extends WireRequest {
  /** The registry as references name it, for traces. */
  readonly registry: string;
  /** Sent to the origin of `url` alone: it never follows a redirect to another one. */
  readonly authorization?: string | undefined;
  /** Do not try again: the caller has a better way. */
  readonly once?: boolean | undefined;
  /** Ends the retries at an answer that would be retried otherwise. */
  readonly isFinal?: ((answer: WireAnswer) => boolean) | undefined;
  /** Another host may answer instead: give up early, and do not repeat what did not reach the host. */
  readonly hasAlternative?: boolean | undefined;
}

export interface ExchangeSettings {
  readonly retries: number;
  readonly retryDelay: number;
  readonly maxRetryAfter: number;
  /** The most requests to one host that are waiting for an answer at a time. */
  readonly maxRequests: number;
  /** Milliseconds until a connection must be open to a host that another one can stand in for. Default: 5000. */
  readonly alternativeConnectTimeout?: number | undefined;
  /** Aborted when the connections are closed. */
  readonly closing?: AbortSignal | undefined;
  /** Called after a few seconds of silence with what a request waits for. */
  onSilence?(text: string): void;
  trace?(event: RequestTrace): void;
}

const maxRedirects = 10;
/** How often a host that was never reached is tried again: it may simply not be there. */
const unreachableRetries = 3;
/** The same where another host may answer instead. */
const alternativeRetries = 1;
const alternativeConnectTimeout = 5000;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Sends requests with redirects followed by hand, retries and traces. It knows nothing of how to get an authorization. */
export class Exchange {
  readonly #reached = new Set<string>();
  readonly #limiters = new Map<string, HostLimiter>();
  readonly rateLimits = new RateLimits();
  readonly #silence: Silence;

  constructor(
    readonly wire: Wire,
    readonly settings: ExchangeSettings,
    readonly secrets: Secrets,
  ) {
    this.#silence = new Silence((text) => settings.onSilence?.(secrets.scrub(text)));
  }

  /**
   * Sends a request until it is answered: network faults, 429 and 5xx are tried again, at growing distances. The last
   * answer is returned whatever its status.
   * @throws AirliftError `network`, `tls`, `interrupted`; `rate-limited` where the registry asks for a longer wait than allowed;
   *   `registry` for redirects that must not be followed
   */
  async send(request: ExchangeRequest): Promise<WireAnswer> {
    const { retryDelay, closing } = this.settings;
    const retries = Math.min(
      this.settings.retries,
      request.hasAlternative === true ? alternativeRetries : Infinity,
    );
    const connectTimeout =
      request.hasAlternative === true
        ? (this.settings.alternativeConnectTimeout ?? alternativeConnectTimeout)
        : undefined;
    for (let attempt = 1; ; attempt++) {
      const last = request.once === true || attempt > retries;
      let wait = backoff(attempt, retryDelay);
      const silence = this.#silence.begin(request.url.host, request.doing);
      try {
        const answer = await this.#follow({ ...request, connectTimeout });
        const isFinal = request.isFinal?.(answer) === true;
        if (last || isFinal || !isPassing(answer.status)) return await received(answer, request, silence);
        wait = this.#askedWait(answer, request) ?? wait;
        await discard(answer);
      } catch (error) {
        if (!(error instanceof AirliftError) || error.code !== 'network' || last) throw error;
        const isThere = this.#reached.has(request.url.origin) && request.hasAlternative !== true;
        const tries = request.hasAlternative === true ? 0 : unreachableRetries;
        if (isUnreachable(error) && attempt > tries && !isThere) throw error;
      } finally {
        silence.end();
      }
      const waiting = this.#silence.begin(request.url.host, request.doing, wait);
      await pause(wait, request.doing, request.signal, closing).finally(() => waiting.end());
    }
  }

  #askedWait(answer: WireAnswer, request: ExchangeRequest): number | undefined {
    const asked = parseRetryAfter(headerOf(answer, 'retry-after'), Date.now());
    if (asked === undefined || asked <= this.settings.maxRetryAfter) return asked;
    answer.body.on('error', () => undefined).destroy();
    const seconds = (milliseconds: number): string => `${Math.ceil(milliseconds / 1000)} s`;
    throw new AirliftError(
      answer.status === 429 ? 'rate-limited' : 'registry',
      `${request.doing}: the registry asks to wait (${answer.status}); got ${seconds(asked)}, want at most ${seconds(this.settings.maxRetryAfter)}`,
      { status: answer.status, hint: 'run the same command again later; what is there is not fetched again' },
    );
  }

  #limiterOf(origin: string): HostLimiter {
    let limiter = this.#limiters.get(origin);
    if (limiter === undefined) {
      limiter = new HostLimiter(this.settings.maxRequests, this.settings.closing);
      this.#limiters.set(origin, limiter);
    }
    return limiter;
  }

  /**
   * Sends one request when the host's turn comes. Requests with streamed content only wait while the host wants none: what
   * they send may be on its way from the same host.
   */
  async #inTurn(request: ExchangeRequest): Promise<WireAnswer> {
    const { url, doing, signal } = request;
    const limiter = this.#limiterOf(url.origin);
    const isStreamed = request.body !== undefined && !(request.body instanceof Uint8Array);
    await (isStreamed ? limiter.quiet(doing, signal) : limiter.enter(doing, signal));
    try {
      const asked = performance.now();
      const answer = await this.#traced(request);
      const rateLimit = rateLimitOf(answer);
      if (rateLimit !== undefined) this.rateLimits.note(url.origin, rateLimit, asked);
      if (answer.status === 429) {
        const asked = parseRetryAfter(headerOf(answer, 'retry-after'), Date.now()) ?? 0;
        limiter.tooMany(Math.min(asked, this.settings.maxRetryAfter));
      } else limiter.good();
      return answer;
    } finally {
      if (!isStreamed) limiter.leave();
    }
  }

  /**
   * Follows redirects (RFC 9110 section 15.4), with the method kept but for a 303 (section 15.4.4). Once the origin (RFC 6454) is
   * left, the authorization is gone for good.
   */
  async #follow(request: ExchangeRequest): Promise<WireAnswer> {
    let url = request.url;
    let method = request.method;
    let body = request.body;
    let authorization = request.authorization;
    for (let hop = 0; ; hop++) {
      const headers = authorization === undefined ? request.headers : { ...request.headers, authorization };
      const answer = await this.#inTurn({ ...request, url, method, body, headers });
      const location = headerOf(answer, 'location');
      if (!redirects.has(answer.status) || location === undefined) return answer;
      if (answer.status === 303 && method !== 'HEAD') {
        method = 'GET';
        body = undefined;
      }
      await discard(answer);
      const next = redirectTarget(url, location, request.doing, answer.status);
      if (hop >= maxRedirects)
        throw new AirliftError('registry', `${request.doing}: redirected more than ${maxRedirects} times`, {
          status: answer.status,
        });
      if (next.origin !== url.origin) authorization = undefined;
      url = next;
    }
  }

  async #traced(request: ExchangeRequest): Promise<WireAnswer> {
    const { trace } = this.settings;
    const { method, url, registry } = request;
    const started = performance.now();
    const show = (outcome: { answer?: WireAnswer; error?: unknown }): void => {
      if (trace === undefined) return;
      const { answer, error } = outcome;
      const scrubAll = (headers: Record<string, string>): Record<string, string> =>
        Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, this.secrets.scrub(value)]));
      trace({
        method,
        url: this.secrets.scrub(redactUrl(url)),
        registry,
        status: answer?.status,
        error: error instanceof AirliftError ? this.secrets.scrub(error.message) : undefined,
        requestHeaders: scrubAll(redactHeaders(request.headers, url)),
        responseHeaders: answer === undefined ? {} : scrubAll(redactHeaders(answer.headers, url)),
        milliseconds: Math.round(performance.now() - started),
      });
    };
    try {
      const answer = await this.wire.send(request);
      this.#reached.add(url.origin);
      show({ answer });
      return answer;
    } catch (error) {
      show({ error });
      throw error;
    }
  }
}

/** The answer with its body in memory, where that is wanted. */
async function received(
  answer: WireAnswer,
  { whole, doing }: ExchangeRequest,
  silence: Listening,
): Promise<WireAnswer> {
  silence.answered();
  if (whole === undefined || answer.status !== 200 || (lengthOf(answer) ?? 0) > whole) return answer;
  const bytes = await readBody(answer.body, whole, doing);
  return { ...answer, body: Readable.from(bytes.byteLength > 0 ? [bytes] : [], { objectMode: false }) };
}

/**
 * Where a redirect leads (`Location`, RFC 9110 section 10.2.2, resolved by RFC 3986 section 5).
 * @throws AirliftError `registry` where that is no HTTP address, or where it gives up TLS
 */
function redirectTarget(from: URL, location: string, doing: string, status: number): URL {
  const shown = redactAddress(location, from);
  let next: URL;
  try {
    next = new URL(location, from);
  } catch (cause) {
    throw new AirliftError('registry', `${doing}: redirected to an invalid address`, { cause, status });
  }
  if (next.protocol !== 'https:' && next.protocol !== 'http:')
    throw new AirliftError('registry', `${doing}: redirected to ${next.protocol} address ${shown}`, {
      status,
    });
  if (from.protocol === 'https:' && next.protocol === 'http:')
    throw new AirliftError(
      'registry',
      `${doing}: redirected from HTTPS to plain HTTP at ${shown}, which is not followed`,
      { status },
    );
  next.username = '';
  next.password = '';
  return next;
}

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

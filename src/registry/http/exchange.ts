import { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { backoff, pause } from '../../oci/pause.js';
import type { RequestTrace } from '../config/options.js';
import { isUnreachable } from './faults.js';
import { headerOf, lengthOf, parseRetryAfter } from './headers.js';
import { HostLimiter, rateLimitOf, RateLimits } from './limits.js';
import { redactAddress, redactHeaders, redactUrl, type Secrets } from './redact.js';
import { abandon, discard, isTransient, readBody } from './responses.js';
import type { Wire, WireRequest, WireResponse } from './wire.js';

/** A request whose redirects are followed and which is retried after transient failures. */
export interface ExchangeRequest extends WireRequest {
  /** The registry as references name it, for traces. */
  readonly registry: string;
  /** Sent only to the origin of `url`: a redirect to another origin does not get it. */
  readonly authorization?: string | undefined;
  /** Never retry: the caller has a better way to recover. */
  readonly once?: boolean | undefined;
  /** Returns true for a response that must not be retried, although its status is transient. */
  readonly isFinal?: ((response: WireResponse) => boolean) | undefined;
  /** Another host can serve the request instead: give up early. */
  readonly hasAlternative?: boolean | undefined;
}

export interface ExchangeSettings {
  readonly retries: number;
  readonly retryDelay: number;
  readonly maxRetryAfter: number;
  /** Limit of concurrent requests to one host. */
  readonly maxRequests: number;
  /** Milliseconds within which a connection must be open to a host that has an alternative; default: 5000. */
  readonly alternativeConnectTimeout?: number | undefined;
  /** Aborted when the connections are closed. */
  readonly closing?: AbortSignal | undefined;
  /** Called after a few seconds without a response, with what the request waits for. */
  onSilence?(text: string): void;
  trace?(event: RequestTrace): void;
}

const maxRedirects = 10;
/** Retries for a host that never responded in this run: its name may be wrong. */
const unreachableRetries = 3;
/** Retries for a host that has an alternative. */
const alternativeRetries = 1;
const alternativeConnectTimeout = 5000;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

// undici's retry and redirect interceptors are not used: retries share a limit per host, and the authorization must not follow a redirect.
/** Sends requests with redirects, retries, limits and traces. It does not know how to obtain an authorization. */
export class Exchange {
  /** Origins that responded in this run. */
  readonly #reached = new Set<string>();
  readonly #limiters = new Map<string, HostLimiter>();
  readonly rateLimits = new RateLimits();
  readonly #waitNotices: WaitNotices;

  constructor(
    readonly wire: Wire,
    readonly settings: ExchangeSettings,
    readonly secrets: Secrets,
  ) {
    this.#waitNotices = new WaitNotices((text) => settings.onSilence?.(secrets.scrub(text)));
  }

  /**
   * Sends a request; retries network faults, 429 and 5xx with exponential backoff. Returns the last response whatever its status.
   * @throws AirliftError `network`, `tls`, `interrupted`; `rate-limited` if the registry asks for a longer wait than allowed; `registry`
   *   for a redirect that must not be followed
   */
  async send(request: ExchangeRequest): Promise<WireResponse> {
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
      const isLast = request.once === true || attempt > retries;
      let wait = backoff(attempt, retryDelay);
      const notice = this.#waitNotices.begin(request.url.host, request.action);
      try {
        const response = await this.#follow({ ...request, connectTimeout });
        // Called for each response: the caller may record what it sees.
        const isFinal = request.isFinal?.(response) === true;
        if (isLast || isFinal || !isTransient(response.status))
          return await bufferSmall(response, request, notice);
        wait = this.#retryAfter(response, request) ?? wait;
        await discard(response);
      } catch (error) {
        if (!(error instanceof AirliftError) || error.code !== 'network' || isLast) throw error;
        const isKnown = this.#reached.has(request.url.origin) && request.hasAlternative !== true;
        const maxRetries = request.hasAlternative === true ? 0 : unreachableRetries;
        if (isUnreachable(error) && attempt > maxRetries && !isKnown) throw error;
      } finally {
        notice.end();
      }
      const retryNotice = this.#waitNotices.begin(request.url.host, request.action, wait);
      await pause(wait, request.action, request.signal, closing).finally(() => retryNotice.end());
    }
  }

  /** Returns the milliseconds that a registry asks to wait. */
  #retryAfter(response: WireResponse, request: ExchangeRequest): number | undefined {
    const wait = parseRetryAfter(headerOf(response, 'retry-after'), Date.now());
    if (wait === undefined || wait <= this.settings.maxRetryAfter) return wait;
    abandon(response);
    const seconds = (milliseconds: number): string => `${Math.ceil(milliseconds / 1000)} s`;
    throw new AirliftError(
      response.status === 429 ? 'rate-limited' : 'registry',
      `${request.action}: the registry asks to wait (${response.status}); got ${seconds(wait)}, want at most ${seconds(this.settings.maxRetryAfter)}`,
      {
        status: response.status,
        hint: 'run the same command again later; it resumes and fetches nothing twice',
      },
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
   * Sends one request within the limits of the host. Requests with streamed content take no slot, because their content may be a download
   * from the same host; they only wait while the host is throttled.
   */
  async #sendLimited(request: ExchangeRequest): Promise<WireResponse> {
    const { url, action, signal } = request;
    const limiter = this.#limiterOf(url.origin);
    const isStreamed = request.body !== undefined && !(request.body instanceof Uint8Array);
    await (isStreamed ? limiter.untilUnthrottled(action, signal) : limiter.acquire(action, signal));
    try {
      const sentAt = performance.now();
      const response = await this.#sendTraced(request);
      const rateLimit = rateLimitOf(response);
      if (rateLimit !== undefined) this.rateLimits.record(url.origin, rateLimit, sentAt);
      if (response.status === 429) {
        const wait = parseRetryAfter(headerOf(response, 'retry-after'), Date.now()) ?? 0;
        limiter.throttle(Math.min(wait, this.settings.maxRetryAfter));
      } else limiter.recordSuccess();
      return response;
    } finally {
      if (!isStreamed) limiter.release();
    }
  }

  /**
   * Sends a request and follows redirects (RFC 9110 section 15.4). The method stays the same except after a 303 (section 15.4.4). After a
   * redirect to another origin (RFC 6454) the authorization is not sent any more, even if a later redirect leads back.
   */
  async #follow(request: ExchangeRequest): Promise<WireResponse> {
    let { url, method, body, authorization } = request;
    for (let hop = 0; ; hop++) {
      const headers = authorization === undefined ? request.headers : { ...request.headers, authorization };
      const response = await this.#sendLimited({ ...request, url, method, body, headers });
      const location = headerOf(response, 'location');
      if (!redirects.has(response.status) || location === undefined) return response;
      if (response.status === 303 && method !== 'HEAD') {
        method = 'GET';
        body = undefined;
      }
      await discard(response);
      const next = redirectTarget(url, location, request.action, response.status);
      if (hop >= maxRedirects)
        throw new AirliftError('registry', `${request.action}: more than ${maxRedirects} redirects`, {
          status: response.status,
        });
      if (next.origin !== url.origin) authorization = undefined;
      url = next;
    }
  }

  async #sendTraced(request: ExchangeRequest): Promise<WireResponse> {
    const { trace } = this.settings;
    const { method, url, registry } = request;
    const start = performance.now();
    const emit = ({ response, error }: { response?: WireResponse; error?: unknown }): void => {
      if (trace === undefined) return;
      const scrubAll = (headers: Record<string, string>): Record<string, string> =>
        Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, this.secrets.scrub(value)]));
      trace({
        method,
        url: this.secrets.scrub(redactUrl(url)),
        registry,
        status: response?.status,
        error: error instanceof AirliftError ? this.secrets.scrub(error.message) : undefined,
        requestHeaders: scrubAll(redactHeaders(request.headers, url)),
        responseHeaders: response === undefined ? {} : scrubAll(redactHeaders(response.headers, url)),
        milliseconds: Math.round(performance.now() - start),
      });
    };
    try {
      const response = await this.wire.send(request);
      this.#reached.add(url.origin);
      emit({ response });
      return response;
    } catch (error) {
      emit({ error });
      throw error;
    }
  }
}

/** Reads a small response into memory if the request asks for that, so that a broken body is retried too. */
async function bufferSmall(
  response: WireResponse,
  { whole, action }: ExchangeRequest,
  notice: WaitNotice,
): Promise<WireResponse> {
  notice.headersReceived();
  if (whole === undefined || response.status !== 200 || (lengthOf(response) ?? 0) > whole) return response;
  const bytes = await readBody(response.body, whole, action);
  return { ...response, body: Readable.from(bytes.byteLength > 0 ? [bytes] : [], { objectMode: false }) };
}

/**
 * Resolves the target of a redirect (`Location`, RFC 9110 section 10.2.2; RFC 3986 section 5).
 * @throws AirliftError `registry` if it is not an HTTP address, or leads from HTTPS to plain HTTP
 */
function redirectTarget(from: URL, location: string, action: string, status: number): URL {
  const shown = redactAddress(location, from);
  let next: URL;
  try {
    next = new URL(location, from);
  } catch (cause) {
    throw new AirliftError('registry', `${action}: redirected to an invalid address`, { cause, status });
  }
  if (next.protocol !== 'https:' && next.protocol !== 'http:')
    throw new AirliftError('registry', `${action}: redirected to ${next.protocol} address ${shown}`, {
      status,
    });
  if (from.protocol === 'https:' && next.protocol === 'http:')
    throw new AirliftError(
      'registry',
      `${action}: redirected from HTTPS to plain HTTP at ${shown}, which is not followed`,
      { status },
    );
  next.username = '';
  next.password = '';
  return next;
}

/** Milliseconds without a response after which a notice is given. */
const defaultNoticeDelay = 5000;

/** Milliseconds after which a notice for the same host is repeated. */
const repeatInterval = 30_000;

/** A wait that may lead to a notice. */
export interface WaitNotice {
  /** Records that the headers have arrived: the request waits only for the rest of the response. */
  headersReceived(): void;
  end(): void;
}

/** Gives notice of what a run waits for while a host does not respond: one notice per host, however many requests wait for it. */
export class WaitNotices {
  /** Time of the last notice for each host, by `performance.now()`. */
  readonly #lastNotice = new Map<string, number>();

  constructor(
    private readonly notify: (text: string) => void,
    private readonly delay = defaultNoticeDelay,
  ) {}

  /**
   * Starts a wait.
   * @param retryWait milliseconds of the wait before a retry; undefined while waiting for a response
   */
  begin(host: string, action: string, retryWait?: number): WaitNotice {
    const start = performance.now();
    let awaited = 'a response';
    let timer: NodeJS.Timeout | undefined;
    const check = (): void => {
      timer = setTimeout(check, repeatInterval);
      const now = performance.now();
      if (now - (this.#lastNotice.get(host) ?? -Infinity) < repeatInterval / 2) return;
      this.#lastNotice.set(host, now);
      const seconds = Math.round((now - start) / 1000);
      this.notify(
        retryWait === undefined
          ? `waiting for ${awaited} from ${host} for ${seconds} s: ${action}`
          : `waiting ${Math.ceil(retryWait / 1000)} s before the next request to ${host}: ${action}`,
      );
    };
    if (retryWait === undefined || retryWait > this.delay) timer = setTimeout(check, this.delay);
    return {
      headersReceived: () => void (awaited = 'the rest of a response'),
      end: () => clearTimeout(timer),
    };
  }
}

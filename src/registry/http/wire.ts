import { setMaxListeners } from 'node:events';
import { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import { AirliftError, interruption } from '../../errors.js';
import { connector, type ConnectSettings } from './connect.js';
import { faultOf } from './faults.js';
import { lengthOf, type HasHeaders } from './headers.js';
import { passwordWanted, type Proxy } from './proxy.js';

/** Content to send, which can be opened again should the request have to be repeated. */
export interface SentContent {
  readonly size: number;
  open(): AsyncIterable<Uint8Array>;
}

/** One HTTP request, as it goes out. */
export interface WireRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | SentContent | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What the request is made for, for messages. */
  readonly doing: string;
  /** Milliseconds until a connection must be open, when another host may answer instead. Default: that of all requests. */
  readonly connectTimeout?: number | undefined;
  /** The answer is small: at most so many bytes. It has to arrive in reasonable time. */
  readonly whole?: number | undefined;
}

/** An answer: its headers are complete, its body is still to be read or given up. */
export interface WireAnswer extends HasHeaders {
  readonly url: URL;
  readonly status: number;
  readonly body: Readable;
}

export interface WireSettings extends ConnectSettings {
  readonly idleTimeout: number;
}

function proxyHeaders(proxy: Proxy | undefined, url: URL): Record<string, string> {
  if (proxy === undefined) return {};
  const host = { host: url.host };
  return proxy.authorization === undefined ? host : { ...host, 'proxy-authorization': proxy.authorization };
}

/** Answers up to this size have to arrive in reasonable time: manifests, tokens, lists and configs are not larger. */
const smallAnswer = 4 * 1024 * 1024;

/** Bytes a second that a small answer must bring on average, after the first `idleTimeout`. */
const slowestRate = 1024;

/** The body of an answer, fed straight from the parser. */
class AnswerBody extends Readable {
  #ended = false;
  #received = 0;
  #isPaused = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(readonly controller: Dispatcher.DispatchController) {
    super({ highWaterMark: 256 * 1024 });
  }

  /**
   * Breaks the body off when it drips: each byte alone would keep `idleTimeout` from passing.
   * @param patience milliseconds that it may take at any rate
   */
  hurry(patience: number): void {
    const begun = performance.now();
    const check = (): void => {
      const elapsed = performance.now() - begun;
      const allowed = patience + (this.#received / slowestRate) * 1000;
      // While nobody reads, the sender is not to blame.
      if (elapsed < allowed || this.#isPaused) {
        this.#deadline = setTimeout(check, Math.max(100, allowed - elapsed));
        return;
      }
      const slow = new Error(
        `answer is too slow; got ${this.#received} bytes in ${Math.round(elapsed / 1000)} s`,
      );
      this.controller.abort(Object.assign(slow, { code: 'AIRLIFT_SLOW_ANSWER' }));
    };
    this.#deadline = setTimeout(check, patience);
  }

  accept(chunk: Buffer): void {
    this.#received += chunk.byteLength;
    if (this.push(chunk)) return;
    this.#isPaused = true;
    this.controller.pause();
  }

  finish(): void {
    this.#ended = true;
    clearTimeout(this.#deadline);
    this.push(null);
  }

  override _read(): void {
    this.#isPaused = false;
    this.controller.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#deadline);
    if (!this.#ended) this.controller.abort(error ?? new Error('the rest of the answer is not wanted'));
    done(error);
  }
}

function connectTimedOut(): Error {
  return Object.assign(new Error('connect timeout'), { code: 'UND_ERR_CONNECT_TIMEOUT' });
}

/** Sends requests as they are and gives the answers as they come: no retries, no redirects, no authorization. */
export class Wire {
  readonly #agent: Agent;
  readonly #proxyOf: (url: URL) => Proxy | undefined;
  readonly #idleTimeout: number;
  readonly #closing: AbortController;

  constructor(settings: WireSettings, closing = new AbortController()) {
    this.#closing = closing;
    // Every connection that is being opened listens.
    setMaxListeners(0, closing.signal);
    this.#idleTimeout = settings.idleTimeout;
    this.#proxyOf = (url) => settings.proxyOf(url);
    this.#agent = new Agent({
      connect: connector(settings, closing.signal),
      // No bound here: an upload may be fed by a download from the same host, and each would wait for the other's connection.
      connections: null,
      pipelining: 1,
      keepAliveTimeout: 15_000,
      bodyTimeout: settings.idleTimeout,
      maxHeaderSize: 64 * 1024,
    });
  }

  /**
   * Sends one request.
   * @throws AirliftError `network` or `tls` where no answer came; `interrupted`; what `body` threw while it was read
   */
  send(request: WireRequest): Promise<WireAnswer> {
    const { url, doing, signal } = request;
    if (signal?.aborted === true) return Promise.reject(interruption(doing, signal));
    if (this.#closing.signal.aborted) return Promise.reject(interruption(doing, this.#closing.signal));
    // Plain HTTP goes through a proxy by naming the whole address (RFC 9112 section 3.2.2); TLS by a tunnel, made when connecting.
    const proxy = url.protocol === 'http:' ? this.#proxyOf(url) : undefined;
    const sent = request.body === undefined ? undefined : this.#bodyOf(request.body);
    return new Promise((resolve, reject) => {
      let body: AnswerBody | undefined;
      let controller: Dispatcher.DispatchController | undefined;
      /** Why nobody waits any more for a request whose connection is still being opened. */
      let left: Error | undefined;
      const leave = (why: Error): void => {
        left = why;
        settled();
        if (controller === undefined) reject(failed(why));
        else controller.abort(why);
      };
      const onAbort = (): void => leave(new Error('interrupted'));
      const connecting =
        request.connectTimeout === undefined
          ? undefined
          : setTimeout(() => leave(connectTimedOut()), request.connectTimeout);
      const settled = (): void => {
        clearTimeout(connecting);
        signal?.removeEventListener('abort', onAbort);
      };
      const failed = (error: unknown): AirliftError => {
        if (signal?.aborted === true) return interruption(doing, signal);
        if (this.#closing.signal.aborted) return interruption(doing, this.#closing.signal);
        const own = sent?.fault();
        if (own !== undefined) return own instanceof AirliftError ? own : faultOf(own, doing, url);
        return faultOf(error, doing, url);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart(started) {
          controller = started;
          clearTimeout(connecting);
          if (left !== undefined) started.abort(left);
        },
        onResponseStart: (started, status, headers) => {
          if (status < 200) return;
          if (proxy !== undefined && status === 407) {
            reject(faultOf(passwordWanted(proxy), doing, url));
            started.abort(new Error('the proxy wants a password'));
            return;
          }
          body = new AnswerBody(started);
          const isSmall = (lengthOf({ headers }) ?? Infinity) <= smallAnswer;
          if (isSmall || request.whole !== undefined || status >= 300) body.hurry(this.#idleTimeout);
          resolve({ url, status, headers, body });
        },
        onResponseData(_started, chunk) {
          body?.accept(chunk);
        },
        onResponseEnd() {
          settled();
          body?.finish();
        },
        onResponseError(_started, error) {
          settled();
          if (body === undefined) reject(failed(error));
          else if (!body.destroyed) body.destroy(failed(error));
        },
      };
      this.#agent.dispatch(
        {
          origin: proxy?.url.origin ?? url.origin,
          path: `${proxy === undefined ? '' : url.origin}${url.pathname}${url.search}`,
          method: request.method,
          headers: { ...request.headers, ...sent?.headers, ...proxyHeaders(proxy, url) },
          // The iterable form is accepted, although the type does not name it.
          body: (sent?.content ?? null) as Readable | null,
          // Whoever takes a large upload in may need a while to store it before it answers.
          headersTimeout: this.#idleTimeout * (sent === undefined ? 1 : 5),
          bodyTimeout: this.#idleTimeout,
        },
        handler,
      );
    });
  }

  /** Ends all connections; what is still under way fails. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#agent.destroy();
  }

  #bodyOf(body: Uint8Array | SentContent): {
    content: unknown;
    headers: Record<string, string>;
    fault(): unknown;
  } {
    if (body instanceof Uint8Array) {
      return { content: body, headers: {}, fault: () => undefined };
    }
    let fault: unknown;
    async function* read(content: SentContent): AsyncGenerator<Uint8Array> {
      try {
        yield* content.open();
      } catch (error) {
        fault = error;
        throw error;
      }
    }
    return { content: read(body), headers: { 'content-length': String(body.size) }, fault: () => fault };
  }
}

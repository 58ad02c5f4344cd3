import { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import { AirliftError } from '../errors.js';
import { connector, type ConnectSettings } from './connect.js';
import { faultOf, interruption } from './faults.js';
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
}

/** An answer: its headers are complete, its body is still to be read or given up. */
export interface WireAnswer {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Readable;
}

export interface WireSettings extends ConnectSettings {
  readonly idleTimeout: number;
}

/** The value of a header; several of one name are joined as RFC 9110 section 5.3 says. */
export function headerOf(answer: Pick<WireAnswer, 'headers'>, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** `Content-Length` (RFC 9110 section 8.6) as a number, where there is a valid one. */
export function lengthOf(answer: Pick<WireAnswer, 'headers'>): number | undefined {
  const text = headerOf(answer, 'content-length') ?? '';
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function proxyHeaders(proxy: Proxy | undefined, url: URL): Record<string, string> {
  if (proxy === undefined) return {};
  const host = { host: url.host };
  return proxy.authorization === undefined ? host : { ...host, 'proxy-authorization': proxy.authorization };
}

/** The body of an answer, fed straight from the parser. */
class AnswerBody extends Readable {
  #ended = false;

  constructor(readonly controller: Dispatcher.DispatchController) {
    super({ highWaterMark: 256 * 1024 });
  }

  accept(chunk: Buffer): void {
    if (!this.push(chunk)) this.controller.pause();
  }

  finish(): void {
    this.#ended = true;
    this.push(null);
  }

  override _read(): void {
    this.controller.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#ended) this.controller.abort(error ?? new Error('the rest of the answer is not wanted'));
    done(error);
  }
}

/** Sends requests as they are and gives the answers as they come: no retries, no redirects, no authorization. */
export class Wire {
  readonly #agent: Agent;
  readonly #proxyOf: (url: URL) => Proxy | undefined;
  readonly #idleTimeout: number;

  constructor(settings: WireSettings) {
    this.#idleTimeout = settings.idleTimeout;
    this.#proxyOf = (url) => settings.proxyOf(url);
    this.#agent = new Agent({
      connect: connector(settings),
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
    // Plain HTTP goes through a proxy by naming the whole address (RFC 9112 section 3.2.2); TLS by a tunnel, made when connecting.
    const proxy = url.protocol === 'http:' ? this.#proxyOf(url) : undefined;
    const sent = request.body === undefined ? undefined : this.#bodyOf(request.body);
    return new Promise((resolve, reject) => {
      let body: AnswerBody | undefined;
      let controller: Dispatcher.DispatchController | undefined;
      const onAbort = (): void => controller?.abort(new Error('interrupted'));
      const settled = (): void => signal?.removeEventListener('abort', onAbort);
      const failed = (error: unknown): AirliftError => {
        if (signal?.aborted === true) return interruption(doing, signal);
        const own = sent?.fault();
        if (own !== undefined) return own instanceof AirliftError ? own : faultOf(own, doing, url);
        return faultOf(error, doing, url);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart(started) {
          controller = started;
          if (signal?.aborted === true) onAbort();
        },
        onResponseStart(started, status, headers) {
          if (status < 200) return;
          if (proxy !== undefined && status === 407) {
            reject(faultOf(passwordWanted(proxy), doing, url));
            started.abort(new Error('the proxy wants a password'));
            return;
          }
          body = new AnswerBody(started);
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

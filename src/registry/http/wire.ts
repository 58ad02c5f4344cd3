import { setMaxListeners } from 'node:events';
import { getDefaultHighWaterMark, Readable } from 'node:stream';
import { Agent, errors, type Dispatcher } from 'undici';
import { AirliftError, interruption } from '../../errors.js';
import { createConnector, type ConnectSettings } from './connect.js';
import { connectTimeoutError, networkError } from './faults.js';
import { lengthOf, type HasHeaders } from './headers.js';
import { proxyPasswordError, type Proxy } from './proxy.js';

/** Content of a request that can be opened again if the request has to be repeated. */
export interface SentContent {
  readonly size: number;
  /** Opens the content. Its owner may reuse the memory of a chunk when the next one is requested: the chunk is sent by then. */
  open(): AsyncIterable<Uint8Array>;
}

/** A single HTTP request. */
export interface WireRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | SentContent | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The action that the request is part of, for messages. */
  readonly action: string;
  /** Milliseconds within which a connection must be open; default: `connectTimeout` of the settings. */
  readonly connectTimeout?: number | undefined;
  /** Most bytes of a small response, which must arrive within a deadline. */
  readonly whole?: number | undefined;
}

/** A response with complete headers; the body still has to be read or discarded. */
export interface WireResponse extends HasHeaders {
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

/** The size of a socket's buffer, in bytes. undici waits until the socket has sent a chunk of this size or more. */
const socketBuffer = getDefaultHighWaterMark(false);

/** The largest response with a deadline: manifests, tokens, lists and configs are not larger. */
const smallResponse = 4 * 1024 * 1024;

/** The lowest average rate for a small response after the first `idleTimeout`, in bytes per second. */
const lowestRate = 1024;

/** The body of a response, filled directly by undici's parser. */
class ResponseBody extends Readable {
  #ended = false;
  #received = 0;
  #isPaused = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(readonly controller: Dispatcher.DispatchController) {
    super({ highWaterMark: 256 * 1024 });
  }

  /**
   * Aborts the response if it arrives too slowly: a server that sends single bytes would never exceed `idleTimeout`.
   * @param grace milliseconds that the response may take at any rate
   */
  setDeadline(grace: number): void {
    const start = performance.now();
    const check = (): void => {
      const elapsed = performance.now() - start;
      const allowed = grace + (this.#received / lowestRate) * 1000;
      // While the reader does not read, the server is not to blame.
      if (elapsed < allowed || this.#isPaused) {
        this.#deadline = setTimeout(check, Math.max(100, allowed - elapsed));
        return;
      }
      const slow = new Error(
        `response is too slow; got ${this.#received} bytes in ${Math.round(elapsed / 1000)} s`,
      );
      this.controller.abort(Object.assign(slow, { code: 'AIRLIFT_SLOW_RESPONSE' }));
    };
    this.#deadline = setTimeout(check, grace);
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
    if (!this.#ended) this.controller.abort(error ?? new Error('the rest of the response is not wanted'));
    done(error);
  }
}

/** Sends single requests: no retries, no redirects, no authorization. */
export class Wire {
  readonly #agent: Agent;
  readonly #proxyOf: (url: URL) => Proxy | undefined;
  readonly #idleTimeout: number;
  readonly #closing: AbortController;
  /** Origins that sent something after the end of a response: each request to them gets a connection of its own. */
  readonly #unframed = new Set<string>();

  constructor(settings: WireSettings, closing = new AbortController()) {
    this.#closing = closing;
    // Every connection that is being opened adds a listener.
    setMaxListeners(0, closing.signal);
    this.#idleTimeout = settings.idleTimeout;
    this.#proxyOf = (url) => settings.proxyOf(url);
    this.#agent = new Agent({
      connect: createConnector(settings, closing.signal),
      // Unlimited: an upload fed by a download from the same host would deadlock if each waited for the other's connection.
      connections: null,
      pipelining: 1,
      keepAliveTimeout: 15_000,
      bodyTimeout: settings.idleTimeout,
      maxHeaderSize: 64 * 1024,
    });
  }

  /**
   * Sends one request.
   * @throws AirliftError `network` or `tls` if no response arrives; `interrupted`; the error of reading `body`
   */
  send(request: WireRequest): Promise<WireResponse> {
    const { url, action, signal } = request;
    if (signal?.aborted === true) return Promise.reject(interruption(action, signal));
    if (this.#closing.signal.aborted) return Promise.reject(interruption(action, this.#closing.signal));
    // Plain HTTP through a proxy uses the absolute URL (RFC 9112 section 3.2.2); TLS uses a tunnel that the connector opens.
    const proxy = url.protocol === 'http:' ? this.#proxyOf(url) : undefined;
    const sent = request.body === undefined ? undefined : this.#bodyOf(request.body);
    return new Promise((resolve, reject) => {
      let body: ResponseBody | undefined;
      let controller: Dispatcher.DispatchController | undefined;
      /** Why the request was given up while its connection was still opening. */
      let abortReason: Error | undefined;
      const abort = (reason: Error): void => {
        abortReason = reason;
        stopListening();
        if (controller === undefined) reject(errorOf(reason));
        else controller.abort(reason);
      };
      const onAbort = (): void => abort(new Error('interrupted'));
      const connectTimer =
        request.connectTimeout === undefined
          ? undefined
          : setTimeout(() => abort(connectTimeoutError()), request.connectTimeout);
      const stopListening = (): void => {
        clearTimeout(connectTimer);
        signal?.removeEventListener('abort', onAbort);
      };
      const errorOf = (error: unknown): AirliftError => {
        if (signal?.aborted === true) return interruption(action, signal);
        if (this.#closing.signal.aborted) return interruption(action, this.#closing.signal);
        const contentError = sent?.error();
        if (contentError instanceof AirliftError) return contentError;
        return networkError(contentError ?? error, action, url);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart(started) {
          controller = started;
          clearTimeout(connectTimer);
          if (abortReason !== undefined) started.abort(abortReason);
        },
        onResponseStart: (started, status, headers) => {
          if (status < 200) return;
          if (proxy !== undefined && status === 407) {
            reject(networkError(proxyPasswordError(proxy), action, url));
            started.abort(new Error('the proxy requires a password'));
            return;
          }
          body = new ResponseBody(started);
          const isSmall = (lengthOf({ headers }) ?? Infinity) <= smallResponse;
          if (isSmall || request.whole !== undefined || status >= 300) body.setDeadline(this.#idleTimeout);
          resolve({ url, status, headers, body });
        },
        onResponseData(_started, chunk) {
          body?.accept(chunk);
        },
        onResponseEnd() {
          stopListening();
          body?.finish();
        },
        onResponseError: (_started, error) => {
          stopListening();
          if (error instanceof errors.HTTPParserError) this.#unframed.add(url.origin);
          if (body === undefined) reject(errorOf(error));
          else if (!body.destroyed) body.destroy(errorOf(error));
        },
      };
      this.#agent.dispatch(
        {
          origin: proxy?.url.origin ?? url.origin,
          path: `${proxy === undefined ? '' : url.origin}${url.pathname}${url.search}`,
          method: request.method,
          headers: { ...request.headers, ...sent?.headers, ...proxyHeaders(proxy, url) },
          // undici accepts an async iterable, although its type does not say so.
          body: (sent?.content ?? null) as Readable | null,
          // A server may need a while to store a large upload before it responds.
          headersTimeout: this.#idleTimeout * (sent === undefined ? 1 : 5),
          bodyTimeout: this.#idleTimeout,
          // By default undici closes the connection after each HEAD, because a few servers wrongly send a body.
          reset: this.#unframed.has(url.origin),
        },
        handler,
      );
    });
  }

  /** Closes all connections; requests in flight fail. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#agent.destroy();
  }

  #bodyOf(body: Uint8Array | SentContent): {
    content: unknown;
    headers: Record<string, string>;
    /** Returns the error that reading the content threw. */
    error(): unknown;
  } {
    if (body instanceof Uint8Array) {
      return { content: body, headers: {}, error: () => undefined };
    }
    let readError: unknown;
    async function* read(content: SentContent): AsyncGenerator<Uint8Array> {
      try {
        // A smaller chunk may still wait in the socket's buffer when the content reuses its memory.
        for await (const chunk of content.open())
          yield chunk.byteLength < socketBuffer ? Buffer.from(chunk) : chunk;
      } catch (error) {
        readError = error;
        throw error;
      }
    }
    return {
      content: read(body),
      headers: { 'content-length': String(body.size) },
      error: () => readError,
    };
  }
}

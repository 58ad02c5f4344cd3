/**
 * A reverse proxy in front of a registry that injects faults by rules. It is a real HTTP server, so that clients see the faults
 * as on a bad network. It logs all requests.
 */
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { FaultLog, type LoggedRequest } from './fault-log.js';
import { Rules, type Rule, type FaultEffects } from './fault-rules.js';

export { failing, htmlPage, retryLater, type Fault, type Rule } from './fault-rules.js';
export type { FaultLog, LoggedRequest } from './fault-log.js';

export interface FaultProxyOptions {
  /** URL of the registry, `http://host:port`. */
  readonly upstream: string;
  readonly rules?: readonly Rule[];
  /** Seed of all random choices. */
  readonly seed?: string | number;
  /** Headers that the second host adds to requests, such as credentials: clients of a store with signed URLs send none. */
  readonly secondHeaders?: Readonly<Record<string, string>>;
  /** Query parameter that redirects add to URLs of the second host, `name=value`. */
  readonly signature?: string;
}

export interface FaultProxy {
  /** `127.0.0.1:port`, as used in references. */
  readonly host: string;
  readonly url: string;
  /** Host and port of the second host, the target of `redirect`. */
  readonly secondHost: string;
  readonly log: FaultLog;
  /** Adds rules. */
  use(...rules: readonly Rule[]): void;
  /** Removes all rules. */
  heal(): void;
  /** Breaks all existing and new connections until `up` is called. */
  down(): void;
  up(): void;
  stop(): Promise<void>;
}

/** Hop-by-hop headers, which apply to one connection only. */
const hopHeaders = new Set(['connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade']);
/** Milliseconds after which an idle connection to the registry is closed: sooner than the registry closes it. */
const idleUpstream = 3000;
/** Assumed size, for faults at a random offset, of a body of unknown length. */
const unknownLength = 64 * 1024;

/** Starts a fault proxy on two free ports of 127.0.0.1. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const rules = new Rules(String(options.seed ?? 0));
  rules.add(...(options.rules ?? []));
  const log = new FaultLog();
  const agent = new Agent({ keepAlive: true, timeout: idleUpstream });
  const sockets = new Set<Socket>();
  let isDown = false;
  const listen = async (name: 'first' | 'second'): Promise<[Server, string]> => {
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (request, response) => {
      const { method = 'GET', url: target = '/' } = request;
      const length = Number(request.headers['content-length'] ?? 0);
      const effects = rules.apply({ host: name, method, target, length });
      const entry: LoggedRequest = {
        ...{ host: name, method, target, headers: request.headers, faults: effects.names },
        ...{ status: 0, from: 0, sent: 0, received: 0, ended: false },
      };
      log.requests.push(entry);
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      const { upstream, signature } = options;
      const parts = { request, response, effects, entry, agent, upstream, signature };
      const forwarding = new Forwarding(parts);
      const headers = name === 'second' ? (options.secondHeaders ?? {}) : {};
      const answered = forwarding.answer(headers, `http://${secondHost}`).catch(() => forwarding.reset());
      void answered.then(() => (entry.ended = true));
    });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined);
      if (isDown) socket.resetAndDestroy();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    // The test file ends even if it fails before it stops the proxy.
    server.unref();
    return [server, `127.0.0.1:${(server.address() as AddressInfo).port}`];
  };
  const [second, secondHost] = await listen('second');
  const [first, host] = await listen('first');
  const breakAll = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    ...{ host, url: `http://${host}`, secondHost, log },
    use: (...more) => rules.add(...more),
    heal: () => rules.clear(),
    down: () => {
      isDown = true;
      breakAll();
    },
    up: () => {
      isDown = false;
    },
    stop: async () => {
      const closed = [first, second].map((server) => new Promise((done) => server.close(done)));
      breakAll();
      await Promise.all(closed);
      agent.destroy();
    },
  };
}

interface ForwardingParts {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly effects: FaultEffects;
  readonly entry: LoggedRequest;
  readonly agent: Agent;
  readonly upstream: string;
  readonly signature: string | undefined;
}

function signed(url: string, signature: string | undefined): string {
  return signature === undefined ? url : `${url}${url.includes('?') ? '&' : '?'}${signature}`;
}

/** One request that the proxy forwards. */
class Forwarding {
  constructor(private readonly parts: ForwardingParts) {}

  reset(): void {
    this.parts.request.socket.resetAndDestroy();
  }

  async answer(added: Readonly<Record<string, string>>, secondUrl: string): Promise<void> {
    const { request, response, effects, entry, agent, upstream, signature } = this.parts;
    if (effects.answer !== undefined || effects.redirect) {
      await this.#drain();
      const { status, headers, body } = effects.answer ?? {
        status: 307,
        headers: { location: signed(`${secondUrl}${entry.target}`, signature) },
        body: '',
      };
      entry.status = status;
      entry.sent = entry.method === 'HEAD' ? 0 : Buffer.byteLength(body ?? '');
      response.writeHead(status, { 'content-length': Buffer.byteLength(body ?? ''), ...headers });
      response.end(entry.method === 'HEAD' ? undefined : body);
      return;
    }
    const headers: IncomingHttpHeaders = { ...withoutHops(request.headers), ...added };
    if (effects.noRange) delete headers.range;
    const forwarded = httpRequest(upstream + entry.target, { method: entry.method, headers, agent });
    const answered = new Promise<IncomingMessage>((done, fail) => {
      forwarded.once('response', done);
      forwarded.once('error', fail);
    });
    answered.catch(() => undefined);
    response.once('close', () => {
      if (!response.writableFinished) forwarded.destroy();
    });
    if (await this.#sendRequest(forwarded)) await this.#sendResponse(await answered, secondUrl);
    else forwarded.destroy();
  }

  async #drain(): Promise<void> {
    for await (const chunk of this.parts.request) this.parts.entry.received += (chunk as Buffer).length;
  }

  /** Forwards the request's body. Returns whether all of it was forwarded. */
  async #sendRequest(forwarded: ClientRequest): Promise<boolean> {
    const { request, effects, entry } = this.parts;
    const length = Number(request.headers['content-length'] ?? unknownLength);
    const breaks = effects.request;
    const after = breaks === undefined ? Infinity : effects.place(breaks.after, length);
    if (after > 0) {
      const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
      for await (const chunk of chunks) {
        const part = chunk.subarray(0, after - entry.received);
        const isLast = entry.received + part.length >= after;
        // The last part must be written to the socket before the connection is broken, here or by a test that reads the log.
        if (isLast) await new Promise<void>((done) => forwarded.write(part, () => done()));
        entry.received += part.length;
        if (isLast) break;
        if (!forwarded.write(part)) await writableOrClosed(forwarded);
        if (forwarded.destroyed) break;
      }
    }
    if (entry.received >= after) {
      if (breaks?.how === 'stall') await this.#stall();
      this.reset();
      return false;
    }
    forwarded.end();
    return true;
  }

  async #sendResponse(upstream: IncomingMessage, secondUrl: string): Promise<void> {
    const { response, effects, entry } = this.parts;
    const length = Number(upstream.headers['content-length'] ?? unknownLength);
    const breaks = effects.response;
    const after = breaks === undefined ? Infinity : effects.place(breaks.after, length);
    const flips = effects.flips.map((offset) => effects.place(offset, length));
    const headers = withoutHops(upstream.headers);
    if (effects.noRange) delete headers['accept-ranges'];
    if (effects.relocate && headers.location !== undefined)
      headers.location = headers.location.replace(/^(?:https?:\/\/[^/]+)?/, secondUrl);
    if (effects.lengthBy !== 0) headers['content-length'] = String(length + effects.lengthBy);
    if (after > 0) {
      entry.status = upstream.statusCode ?? 0;
      entry.from = Number(/^bytes (\d+)-/.exec(upstream.headers['content-range'] ?? '')?.[1] ?? 0);
      response.writeHead(entry.status, headers);
      response.flushHeaders();
      for await (const chunk of upstream as AsyncIterable<Buffer>) {
        for (const at of flips) {
          const byte = chunk[at - entry.sent];
          if (byte !== undefined) chunk[at - entry.sent] = byte ^ 4;
        }
        await this.#sendChunk(chunk.subarray(0, after - entry.sent));
        if (entry.sent >= after || response.destroyed) break;
      }
    }
    if (entry.sent >= after) await this.#breakResponse(breaks?.how);
    else if (effects.lengthBy !== 0) response.socket?.end();
    else response.end();
  }

  async #sendChunk(chunk: Buffer): Promise<void> {
    const { response, effects, entry } = this.parts;
    const { bytes, every } = effects.slow ?? { bytes: chunk.length, every: 0 };
    for (let at = 0; at < chunk.length && !response.destroyed; at += bytes) {
      const part = chunk.subarray(at, at + bytes);
      entry.sent += part.length;
      if (!response.write(part)) await writableOrClosed(response);
      if (every > 0) await pause(every);
    }
  }

  /** Breaks the response after the bytes sent so far are written to the socket. */
  async #breakResponse(how: 'reset' | 'stall' | 'truncate' | undefined): Promise<void> {
    const { response } = this.parts;
    if (response.headersSent && !response.destroyed)
      await new Promise<void>((done) => response.write('', () => done()));
    if (how === 'stall') await this.#stall();
    if (how === 'truncate') response.socket?.end();
    else this.reset();
  }

  /** Waits until the client closes the connection. */
  async #stall(): Promise<void> {
    const { socket } = this.parts.request;
    if (!socket.destroyed) await new Promise((done) => socket.once('close', done));
  }
}

function withoutHops(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !hopHeaders.has(name)));
}

/** Waits until a stream accepts more data or is closed. */
async function writableOrClosed(stream: ServerResponse | ClientRequest): Promise<void> {
  if (stream.destroyed) return;
  const events = ['drain', 'close', 'error'] as const;
  await new Promise<void>((done) => {
    const end = (): void => {
      for (const event of events) stream.off(event, end);
      done();
    };
    for (const event of events) stream.on(event, end);
  });
}

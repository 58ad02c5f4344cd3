/**
 * A reverse proxy in front of any registry that spoils what passes through it, by rule: a real HTTP server, so that a client
 * meets the faults as it would meet them on a bad network. Everything that passes is logged.
 */
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { FaultLog, type LoggedRequest } from './fault-log.js';
import { Rules, type Rule, type Spoiling } from './fault-rules.js';

export { failing, htmlPage, retryLater, type Fault, type Rule } from './fault-rules.js';
export type { FaultLog, LoggedRequest } from './fault-log.js';

export interface FaultProxyOptions {
  /** The registry, `http://host:port`. */
  readonly upstream: string;
  readonly rules?: readonly Rule[];
  /** Decides all that is random. */
  readonly seed?: string | number;
  /** Headers that the second host adds to what it passes on, as a store that trusts its signed addresses needs none. */
  readonly secondHeaders?: Readonly<Record<string, string>>;
  /** What redirects add to addresses at the second host, `name=value`. */
  readonly signature?: string;
}

export interface FaultProxy {
  /** `127.0.0.1:port`, as it stands in references. */
  readonly host: string;
  readonly url: string;
  /** Where `redirect` leads to. */
  readonly secondHost: string;
  readonly log: FaultLog;
  /** Adds rules. */
  use(...rules: readonly Rule[]): void;
  /** Takes all rules away. */
  heal(): void;
  /** Breaks every connection, and every new one, until `up`. */
  down(): void;
  up(): void;
  stop(): Promise<void>;
}

/** Headers that belong to one connection. */
const hopHeaders = new Set(['connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade']);
/** Milliseconds after which an idle connection to the registry is given up, before the registry does so. */
const idleUpstream = 3000;
/** Where a fault at a random byte may strike in a body of unknown length. */
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
      const spoiling = rules.spoil({ host: name, method, target, length });
      const entry: LoggedRequest = {
        ...{ host: name, method, target, headers: request.headers, faults: spoiling.names },
        ...{ status: 0, from: 0, sent: 0, received: 0, ended: false },
      };
      log.requests.push(entry);
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      const { upstream, signature } = options;
      const parts = { request, response, spoiling, entry, agent, upstream, signature };
      const passing = new Passing(parts);
      const headers = name === 'second' ? (options.secondHeaders ?? {}) : {};
      const answered = passing.answer(headers, `http://${secondHost}`).catch(() => passing.reset());
      void answered.then(() => (entry.ended = true));
    });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined);
      if (isDown) socket.resetAndDestroy();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    // A test file that fails before it can stop the proxy still ends.
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

interface PassingParts {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly spoiling: Spoiling;
  readonly entry: LoggedRequest;
  readonly agent: Agent;
  readonly upstream: string;
  readonly signature: string | undefined;
}

function signed(url: string, signature: string | undefined): string {
  return signature === undefined ? url : `${url}${url.includes('?') ? '&' : '?'}${signature}`;
}

/** One request on its way through. */
class Passing {
  constructor(private readonly parts: PassingParts) {}

  reset(): void {
    this.parts.request.socket.resetAndDestroy();
  }

  async answer(added: Readonly<Record<string, string>>, secondUrl: string): Promise<void> {
    const { request, response, spoiling, entry, agent, upstream, signature } = this.parts;
    if (spoiling.answer !== undefined || spoiling.redirect) {
      await this.#drain();
      const { status, headers, body } = spoiling.answer ?? {
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
    if (spoiling.noRange) delete headers.range;
    const passed = httpRequest(upstream + entry.target, { method: entry.method, headers, agent });
    const answered = new Promise<IncomingMessage>((done, fail) => {
      passed.once('response', done);
      passed.once('error', fail);
    });
    answered.catch(() => undefined);
    response.once('close', () => {
      if (!response.writableFinished) passed.destroy();
    });
    if (await this.#sendRequest(passed)) await this.#sendResponse(await answered, secondUrl);
    else passed.destroy();
  }

  async #drain(): Promise<void> {
    for await (const chunk of this.parts.request) this.parts.entry.received += (chunk as Buffer).length;
  }

  /** Passes the request's body on. Gives whether all of it went through. */
  async #sendRequest(passed: ClientRequest): Promise<boolean> {
    const { request, spoiling, entry } = this.parts;
    const length = Number(request.headers['content-length'] ?? unknownLength);
    const breaks = spoiling.request;
    const after = breaks === undefined ? Infinity : spoiling.place(breaks.after, length);
    if (after > 0) {
      const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
      for await (const chunk of chunks) {
        const part = chunk.subarray(0, after - entry.received);
        entry.received += part.length;
        const isLast = entry.received >= after;
        // The last part must have left this process before the connection is broken.
        if (isLast) await new Promise<void>((done) => passed.write(part, () => done()));
        else if (!passed.write(part)) await settled(passed);
        if (isLast || passed.destroyed) break;
      }
    }
    if (entry.received >= after) {
      if (breaks?.how === 'stall') await this.#stall();
      this.reset();
      return false;
    }
    passed.end();
    return true;
  }

  async #sendResponse(got: IncomingMessage, secondUrl: string): Promise<void> {
    const { response, spoiling, entry } = this.parts;
    const length = Number(got.headers['content-length'] ?? unknownLength);
    const breaks = spoiling.response;
    const after = breaks === undefined ? Infinity : spoiling.place(breaks.after, length);
    const flips = spoiling.flips.map((offset) => spoiling.place(offset, length));
    const headers = withoutHops(got.headers);
    if (spoiling.noRange) delete headers['accept-ranges'];
    if (spoiling.relocate && headers.location !== undefined)
      headers.location = headers.location.replace(/^(?:https?:\/\/[^/]+)?/, secondUrl);
    if (spoiling.lengthBy !== 0) headers['content-length'] = String(length + spoiling.lengthBy);
    if (after > 0) {
      entry.status = got.statusCode ?? 0;
      entry.from = Number(/^bytes (\d+)-/.exec(got.headers['content-range'] ?? '')?.[1] ?? 0);
      response.writeHead(entry.status, headers);
      response.flushHeaders();
      for await (const chunk of got as AsyncIterable<Buffer>) {
        for (const at of flips) {
          const byte = chunk[at - entry.sent];
          if (byte !== undefined) chunk[at - entry.sent] = byte ^ 4;
        }
        await this.#sendChunk(chunk.subarray(0, after - entry.sent));
        if (entry.sent >= after || response.destroyed) break;
      }
    }
    if (entry.sent >= after) await this.#breakResponse(breaks?.how);
    else if (spoiling.lengthBy !== 0) response.socket?.end();
    else response.end();
  }

  async #sendChunk(chunk: Buffer): Promise<void> {
    const { response, spoiling, entry } = this.parts;
    const { bytes, every } = spoiling.slow ?? { bytes: chunk.length, every: 0 };
    for (let at = 0; at < chunk.length && !response.destroyed; at += bytes) {
      const part = chunk.subarray(at, at + bytes);
      entry.sent += part.length;
      if (!response.write(part)) await settled(response);
      if (every > 0) await pause(every);
    }
  }

  /** Breaks off when what was sent before has left this process. */
  async #breakResponse(how: 'reset' | 'stall' | 'truncate' | undefined): Promise<void> {
    const { response } = this.parts;
    if (response.headersSent && !response.destroyed)
      await new Promise<void>((done) => response.write('', () => done()));
    if (how === 'stall') await this.#stall();
    if (how === 'truncate') response.socket?.end();
    else this.reset();
  }

  /** Waits until the client has had enough. */
  async #stall(): Promise<void> {
    const { socket } = this.parts.request;
    if (!socket.destroyed) await new Promise((done) => socket.once('close', done));
  }
}

function withoutHops(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !hopHeaders.has(name)));
}

/** Waits until a stream takes more, or takes nothing any more. */
async function settled(stream: ServerResponse | ClientRequest): Promise<void> {
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

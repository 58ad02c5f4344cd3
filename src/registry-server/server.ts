import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirliftError, isAirliftError, messageOf } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import { answer } from './answer.js';
import { Downloads } from './blob-download.js';
import type { ServerLimits, ServerOptions } from './call.js';
import { Connections } from './connections.js';
import { Metrics } from './metrics.js';
import { OpenPulls } from './open-pulls.js';
import { PaceWatch } from './pace.js';
import { refuse, send, type Reply } from './reply.js';
import { loggedTarget, parseTarget, type Route } from './route.js';
import type { ContentStore } from './store-content.js';

export type { RequestEntry, ServerLimits, ServerOptions } from './call.js';
export type { ContentStore } from './store-content.js';

/** Milliseconds without a byte after which a connection is closed: long, since a large upload is synced to the disk before its answer. */
const idleTimeout = 10 * 60 * 1000;
/** Milliseconds after which a client that reads nothing is dropped: longer than the pauses of a node with a slow disk. */
const stallTimeout = 2 * 60 * 1000;
/** Milliseconds within which a client has to finish the TLS handshake. */
const handshakeTimeout = 30 * 1000;
/** Bounds of the head of a request: bytes, and milliseconds until it is complete. */
const head = { maxHeaderSize: 16 * 1024, headersTimeout: 60 * 1000 };
/** Milliseconds without a request after which draining ends, where no client is expected to ask for another layer. */
const quietTime = 2000;
/** containerd makes three to ten requests at a time for a pull. */
const defaultLimits: ServerLimits = {
  requests: 4096,
  requestsOfClient: 2048,
  idle: 2048,
  idleOfClient: 1024,
  idleTimeout: 65 * 1000,
};
/** Bytes of a refused request's body that are read before the connection is closed: the client reads the answer only after sending. */
const drainLimit = 16 * 1024 * 1024;

/** Where a server listens. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /** `http://host:port` or `https://host:port`, without a slash at the end. */
  readonly url: string;
}

/** A registry server. */
export interface RegistryServer {
  /**
   * Begins to listen.
   * @param port 0 picks a free one
   * @throws AirliftError `busy` if the port is in use, `io`
   */
  listen(host: string, port: number): Promise<Listening>;
  /**
   * Lets clients finish: answers requests under way and those for the other layers of a pull. Refuses new pulls by tag and new
   * uploads with 503. Stops listening two seconds after the last request, and ten seconds after the last request of a client that
   * has not fetched all layers of a manifest; at once where nobody has asked for anything.
   */
  drain(): Promise<void>;
  /** Stops listening, ends every connection, and waits until the store is no longer in use. */
  close(): Promise<void>;
}

/**
 * Creates a registry server for the content of `store`, following the OCI distribution-spec 1.1 (pull, push, content discovery, content
 * management), with metrics for Prometheus at `/metrics`.
 */
export function createRegistryServer(store: ContentStore, options: ServerOptions = {}): RegistryServer {
  const underWay = new Set<Promise<void>>();
  const clients = new Map<string, number>();
  const limits = { ...defaultLimits, ...options.limits };
  const connections = new Connections(limits);
  const pulls = new OpenPulls();
  const metrics = new Metrics();
  const downloads = new Downloads();
  const period = options.stallTimeout ?? stallTimeout;
  const pace = new PaceWatch(period);
  const formatMetrics = (): string =>
    metrics.format({ requests: underWay.size, connections: connections.count });
  let isDraining = false;
  let lastEnd = -Infinity;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    connections.begin(socket);
    const client = socket.remoteAddress ?? '';
    const count = (clients.get(client) ?? 0) + 1;
    clients.set(client, count);
    const isBusy = underWay.size >= limits.requests || count > limits.requestsOfClient;
    const state = { client, pulls, downloads, metrics, formatMetrics, period, isBusy, isDraining };
    pace.add(request, response);
    const handled = handle(store, options, request, response, state);
    underWay.add(handled);
    void handled.finally(() => {
      underWay.delete(handled);
      connections.end(socket);
      pace.answered(request);
      lastEnd = performance.now();
      const left = (clients.get(client) ?? 1) - 1;
      if (left > 0) clients.set(client, left);
      else clients.delete(client);
    });
  };
  const { tls } = options;
  const server =
    tls === undefined
      ? createHttpServer(head, onRequest)
      : createHttpsServer({ ...head, ...tls, handshakeTimeout }, onRequest);
  server.on('connection', (socket: Socket) => connections.add(socket));
  server.on('tlsClientError', (cause: Error) => reportHandshake(cause, options));
  server.requestTimeout = 0;
  server.timeout = idleTimeout;
  server.keepAliveTimeout = limits.idleTimeout;
  return {
    listen: async (host, port) => await listen(server, host, port, tls === undefined ? 'http' : 'https'),
    drain: async () => {
      isDraining = true;
      const timeLeft = (): number => Math.max(0, lastEnd + quietTime - performance.now(), pulls.timeLeft());
      while (underWay.size > 0 || timeLeft() > 0) {
        await Promise.all(underWay);
        // A client may fetch its last layer meanwhile.
        await sleep(Math.min(quietTime, timeLeft()));
      }
      server.close();
    },
    close: async () => {
      await new Promise<void>((done) => {
        server.close(() => done());
        connections.close();
        pace.stop();
      });
      await Promise.all(underWay);
    },
  };
}

/** Reports why a handshake failed, mostly because the client does not trust the certificate. A client that went away is no error. */
function reportHandshake(cause: Error, { onError }: ServerOptions): void {
  const [, alert] = /alert ([a-z ]+)(?::|$)/.exec(cause.message) ?? [];
  if (alert !== undefined)
    onError?.(new AirliftError('tls', `TLS handshake with a client: ${alert}`, { cause }));
}

async function listen(server: Server, host: string, port: number, scheme: string): Promise<Listening> {
  const address = host.includes(':') ? `[${host}]` : host;
  await new Promise<void>((done, fail) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'busy' : 'io';
      const happened = code === 'busy' ? 'the port is in use' : cause.message;
      const hint =
        code === 'busy'
          ? 'choose another port with `port`, 0 for a free one; or find the program: ss -ltnp'
          : undefined;
      fail(new AirliftError(code, `listen on ${address}:${port}: ${happened}`, { cause, hint }));
    });
    server.listen(port, host, done);
  });
  const bound = (server.address() as AddressInfo).port;
  return { host, port: bound, url: `${scheme}://${address}:${bound}` };
}

/** The state of the server when a request arrives. */
interface RequestState {
  /** Address of the client. */
  readonly client: string;
  readonly pulls: OpenPulls;
  readonly downloads: Downloads;
  readonly metrics: Metrics;
  readonly formatMetrics: () => string;
  /** Milliseconds that a connection may stay silent while its response is sent. */
  readonly period: number;
  readonly isBusy: boolean;
  readonly isDraining: boolean;
}

function recordPull(pulls: OpenPulls, client: string, route: Route, { status, body }: Reply): void {
  if (route.kind === 'manifest' && status === 200 && body instanceof Uint8Array)
    pulls.manifestSent(client, body);
  if (route.kind === 'blob' && (status === 200 || status === 206) && isDigest(route.digest))
    pulls.blobSent(client, route.digest);
}

async function handle(
  store: ContentStore,
  options: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  state: RequestState,
): Promise<void> {
  const begun = performance.now();
  const { method = 'GET', url: target = '/' } = request;
  const { client, pulls, downloads, metrics, formatMetrics, period, isBusy, isDraining } = state;
  // Reading or writing the stream fails when the client disconnects; without a listener this error would end the process.
  request.on('error', () => undefined);
  const onError = (error: unknown): void => {
    if (!(error instanceof AirliftError)) return;
    metrics.countError();
    options.onError?.(error);
  };
  const parsed = parseTarget(target);
  let reply: Reply;
  let user: string | undefined;
  try {
    const login = isBusy ? 'busy' : await checkLogin(request, options, metrics);
    if (typeof login === 'object') user = login.user;
    if (login === 'busy') reply = unavailable('too many concurrent requests');
    else if (login === 'refused') reply = challenge();
    else if ('refusal' in parsed) reply = parsed.refusal;
    else if (isDraining && isBeginning(method, parsed.route))
      reply = unavailable('this registry is shutting down');
    else
      reply = await answer(
        { method, request, query: parsed.query, store, options, downloads, formatMetrics },
        parsed.route,
      );
  } catch (error) {
    onError(error);
    reply = failure(error);
  }
  const sent = { bytes: 0 };
  let isCut = false;
  try {
    if (!request.complete) drain(request);
    else request.socket.setTimeout(period);
    await send(response, reply, method === 'HEAD', sent);
    if (method === 'GET' && 'route' in parsed) recordPull(pulls, client, parsed.route, reply);
  } catch (error) {
    isCut = true;
    onError(error);
    response.destroy();
  }
  const { status } = reply;
  const milliseconds = performance.now() - begun;
  metrics.countRequest({ method, status, bytes: sent.bytes, milliseconds });
  options.onRequest?.({
    method,
    target: loggedTarget(target),
    status,
    bytes: sent.bytes,
    isCut,
    client,
    user,
    userAgent: request.headers['user-agent'],
    milliseconds,
  });
}

/** Returns undefined where no login is required. */
async function checkLogin(
  request: IncomingMessage,
  { logins }: ServerOptions,
  metrics: Metrics,
): Promise<{ readonly user: string } | 'refused' | 'busy' | undefined> {
  if (logins === undefined) return undefined;
  const login = await logins.check(request.headers.authorization);
  metrics.countLogin(typeof login === 'object' ? 'accepted' : login);
  return login;
}

/** Asks for a user and a password (RFC 7617). docker, containerd and podman read the realm only. */
function challenge(): Reply {
  const headers = { 'WWW-Authenticate': 'Basic realm="airlift"' };
  return refuse(401, 'UNAUTHORIZED', 'authentication required', headers);
}

/** Whether a request begins a pull or an upload. Others belong to one that has begun. */
function isBeginning(method: string, route: Route): boolean {
  if (route.kind === 'manifest') return (method === 'GET' || method === 'HEAD') && !isDigest(route.reference);
  return route.kind === 'uploads';
}

function unavailable(why: string): Reply {
  return refuse(503, 'UNKNOWN', why, { 'Retry-After': '5', Connection: 'close' });
}

function failure(error: unknown): Reply {
  const full = isAirliftError(error, 'no-space');
  return refuse(full ? 507 : 500, 'UNKNOWN', full ? error.message : `internal error: ${messageOf(error)}`);
}

function drain(request: IncomingMessage): void {
  let left = drainLimit;
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
}

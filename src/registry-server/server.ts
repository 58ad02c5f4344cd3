import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirliftError, isAirliftError, messageOf } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import { isLoopback, isRepositoryPath } from '../oci/reference.js';
import type { Call, ServerLimits, ServerOptions } from './call.js';
import { IdleConnections } from './idle-connections.js';
import { listReferrers, listRepositories, listTags } from './lists.js';
import { deleteManifest, pushManifest } from './manifests.js';
import { watchPace } from './pace.js';
import { OpenPulls } from './open-pulls.js';
import { pullBlob, pullManifest } from './pull.js';
import { json, refuse, send, type Reply } from './reply.js';
import { parseTarget, type Route } from './route.js';
import {
  cancelUpload,
  continueUpload,
  deleteBlob,
  finishUpload,
  startUpload,
  uploadStatus,
} from './uploads.js';
import type { ContentStore } from './store-content.js';

export type { RequestEntry, ServerLimits, ServerOptions } from './call.js';
export type { ContentStore } from './store-content.js';

/** Milliseconds without a byte after which a connection is closed: long, since a large upload is synced to the disk before its answer. */
const idleTimeout = 10 * 60 * 1000;
/** Milliseconds after which a client that reads nothing is dropped: longer than the pauses of a node with a slow disk. */
const stallTimeout = 2 * 60 * 1000;
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
  /** `http://host:port`, without a slash at the end. */
  readonly url: string;
}

/** A registry server over HTTP. */
export interface RegistryServer {
  /**
   * Begins to listen.
   * @param port 0 picks a free one
   * @throws AirliftError `usage` if the address is not loopback and `allowRemote` is not set, `busy` if the port is in use, `io`
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
 * management). It has no authentication, so by default it listens on loopback only.
 */
export function createRegistryServer(store: ContentStore, options: ServerOptions = {}): RegistryServer {
  const underWay = new Set<Promise<void>>();
  const clients = new Map<string, number>();
  const limits = { ...defaultLimits, ...options.limits };
  const idle = new IdleConnections(limits);
  const pulls = new OpenPulls();
  let isDraining = false;
  let lastEnd = -Infinity;
  const server = createServer((request, response) => {
    const { socket } = request;
    idle.remove(socket);
    const client = socket.remoteAddress ?? '';
    const count = (clients.get(client) ?? 0) + 1;
    clients.set(client, count);
    const isBusy = underWay.size >= limits.requests || count > limits.requestsOfClient;
    const handled = handle(store, options, request, response, { client, pulls, isBusy, isDraining });
    underWay.add(handled);
    void handled.finally(() => {
      underWay.delete(handled);
      idle.add(socket);
      lastEnd = performance.now();
      const left = (clients.get(client) ?? 1) - 1;
      if (left > 0) clients.set(client, left);
      else clients.delete(client);
    });
  });
  server.on('connection', (socket: Socket) => {
    idle.add(socket);
    socket.once('close', () => idle.remove(socket));
  });
  server.requestTimeout = 0;
  server.timeout = idleTimeout;
  server.keepAliveTimeout = limits.idleTimeout;
  return {
    listen: async (host, port) => await listen(server, host, port, options.allowRemote === true),
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
      idle.stop();
      await close(server);
      await Promise.all(underWay);
    },
  };
}

async function listen(server: Server, host: string, port: number, allowRemote: boolean): Promise<Listening> {
  const address = host.includes(':') ? `[${host}]` : host;
  if (!allowRemote && !isLoopback(host)) {
    throw new AirliftError('usage', `listen on ${address}:${port}: not a loopback address`, {
      hint: 'the registry has no authentication: anyone who reaches it has full access. On a trusted network, pass `allowRemote`',
    });
  }
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
  return { host, port: bound, url: `http://${address}:${bound}` };
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}

/** The state of the server when a request arrives. */
interface RequestState {
  /** Address of the client. */
  readonly client: string;
  readonly pulls: OpenPulls;
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
  { client, pulls, isBusy, isDraining }: RequestState,
): Promise<void> {
  const { method = 'GET', url: target = '/' } = request;
  const period = options.stallTimeout ?? stallTimeout;
  watchPace(request, response, period);
  response.setHeader('Docker-Distribution-API-Version', 'registry/2.0');
  // Reading or writing the stream fails when the client disconnects; without a listener this error would end the process.
  request.on('error', () => undefined);
  const parsed = parseTarget(target);
  let reply: Reply;
  try {
    reply =
      'refusal' in parsed
        ? parsed.refusal
        : isBusy || (isDraining && isBeginning(method, parsed.route))
          ? unavailable(isBusy)
          : await answer({ method, request, query: parsed.query, store, options }, parsed.route);
  } catch (error) {
    if (error instanceof AirliftError) options.onError?.(error);
    reply = failure(error);
  }
  try {
    if (!request.complete) drain(request);
    else request.socket.setTimeout(period);
    const bytes = await send(response, reply, method === 'HEAD');
    if (method === 'GET' && 'route' in parsed) recordPull(pulls, client, parsed.route, reply);
    options.onRequest?.({ method, target, status: reply.status, bytes });
  } catch (error) {
    if (error instanceof AirliftError) options.onError?.(error);
    response.destroy();
  }
}

/** Whether a request begins a pull or an upload. Others belong to one that has begun. */
function isBeginning(method: string, route: Route): boolean {
  if (route.kind === 'manifest') return (method === 'GET' || method === 'HEAD') && !isDigest(route.reference);
  return route.kind === 'uploads';
}

function unavailable(isBusy: boolean): Reply {
  const reply = refuse(
    503,
    'UNKNOWN',
    isBusy ? 'too many concurrent requests' : 'this registry is shutting down',
  );
  return { ...reply, headers: { ...reply.headers, 'Retry-After': '5', Connection: 'close' } };
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

type Handler = (call: Call) => Promise<Reply>;

/** Returns the handler for each method of an endpoint. Methods that write need a store that accepts pushes. */
function handlersOf(route: Route, { push }: ContentStore): Partial<Record<string, Handler>> {
  switch (route.kind) {
    case 'base':
      return { GET: () => Promise.resolve(json(200, {})) };
    case 'catalog':
      return { GET: listRepositories };
    case 'tags':
      return { GET: (call) => listTags(call, route.repository) };
    case 'referrers':
      return { GET: (call) => listReferrers(call, route.repository, route.digest) };
    case 'manifest': {
      const { repository, reference } = route;
      const pull: Handler = (call) => pullManifest(call, repository, reference);
      if (push === undefined) return { GET: pull };
      return {
        GET: pull,
        PUT: (call) => pushManifest({ ...call, push }, repository, reference),
        DELETE: (call) => deleteManifest({ ...call, push }, repository, reference),
      };
    }
    case 'blob': {
      const { repository, digest } = route;
      const pull: Handler = (call) => pullBlob(call, repository, digest);
      if (push === undefined) return { GET: pull };
      return { GET: pull, DELETE: (call) => deleteBlob({ ...call, push }, repository, digest) };
    }
    case 'uploads':
      if (push === undefined) return {};
      return { POST: (call) => startUpload({ ...call, push }, route.repository) };
    case 'upload': {
      if (push === undefined) return {};
      const { repository, id } = route;
      return {
        GET: (call) => uploadStatus({ ...call, push }, repository, id),
        PATCH: (call) => continueUpload({ ...call, push }, repository, id),
        PUT: (call) => finishUpload({ ...call, push }, repository, id),
        DELETE: (call) => cancelUpload({ ...call, push }, repository, id),
      };
    }
  }
}

/**
 * Answers a request. A node that uses the server as a mirror sends the mirrored registry as `ns`. A store that knows the registry of each
 * image answers for that registry only. With any other store, repositories below the registry's name take precedence, so that one server
 * can mirror several registries.
 */
async function answer(call: Call, route: Route): Promise<Reply> {
  const mirrored = call.query.get('ns');
  if (mirrored !== null && 'repository' in route && (call.method === 'GET' || call.method === 'HEAD')) {
    const { store, request } = call;
    if (store.mirror !== undefined) {
      // A node that mirrors this server by its own name requests the repositories as they are named here.
      if (mirrored === request.headers.host) return await answerAs(call, route);
      const held = store.mirror(mirrored, route.repository);
      if (held === undefined)
        return refuse(404, 'NAME_UNKNOWN', `no repository ${mirrored}/${route.repository}`);
      return await answerAs(call, { ...route, repository: held });
    }
    const repository = `${mirrored}/${route.repository}`;
    if (isRepositoryPath(repository)) {
      const reply = await answerAs(call, { ...route, repository });
      if (reply.status !== 404) return reply;
    }
  }
  return await answerAs(call, route);
}

async function answerAs(call: Call, route: Route): Promise<Reply> {
  const handlers = handlersOf(route, call.store);
  const handler = handlers[call.method === 'HEAD' ? 'GET' : call.method];
  if (handler !== undefined) return await handler(call);
  const allowed = Object.keys(handlers).flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  const why =
    call.store.push === undefined && call.method !== 'GET'
      ? 'this registry is read-only'
      : 'method not allowed';
  return refuse(405, 'UNSUPPORTED', why, { Allow: allowed.join(', ') });
}

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirliftError, isAirliftError, messageOf } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import { isLoopback, isRepositoryPath } from '../oci/reference.js';
import type { Call, ServerOptions } from './call.js';
import { listReferrers, listRepositories, listTags } from './lists.js';
import { deleteManifest, pushManifest } from './manifests.js';
import { watchPace } from './pace.js';
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

export type { ServerOptions, RequestEntry } from './call.js';
export type { ContentStore } from './store-content.js';

/** Milliseconds without a byte after which a connection is given up: long, since a large upload is synced before its answer. */
const idleTimeout = 10 * 60 * 1000;
/** Milliseconds after which a client that takes no byte of an answer is dropped: longer than a node's slow disk takes a breath. */
const stallTimeout = 2 * 60 * 1000;
/** Milliseconds that a connection waits for its next request. */
const keepAliveTimeout = 65 * 1000;
/** Milliseconds without a request after which draining ends: a client that pulls asks for its next layer within that. */
const quietTime = 2000;
/** Requests under way at a time, all together and of one client; containerd makes three to ten a pull. */
const mostUnderWay = 4096;
const mostOfClient = 2048;
/** Bytes of a refused request's body that are read, so that its client sees the answer, before the connection is cut. */
const drainLimit = 16 * 1024 * 1024;

/** Where a server listens. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /** `http://host:port`, without a slash at the end. */
  readonly url: string;
}

/** A registry on HTTP. */
export interface RegistryServer {
  /**
   * Begins to listen; port 0 takes a free one.
   * @throws AirliftError `usage` where the address is not loopback and `allowRemote` is not set, `busy` where the port is taken, `io`
   */
  listen(host: string, port: number): Promise<Listening>;
  /**
   * Lets what has begun come to its end: requests under way, and the layers of pulls whose manifest was taken. New pulls by tag and
   * new uploads are refused with 503. Ends two seconds after the last request, at once where there was none, and stops listening.
   */
  drain(): Promise<void>;
  /** Stops listening, ends every connection, and waits until the store is no longer in use. */
  close(): Promise<void>;
}

/**
 * A registry after the OCI distribution-spec 1.1 (pull, push, content discovery, content management) on what `store` holds.
 * It knows no authentication, and so listens on loopback only, unless told otherwise.
 */
export function createRegistryServer(store: ContentStore, options: ServerOptions = {}): RegistryServer {
  const underWay = new Set<Promise<void>>();
  const clients = new Map<string, number>();
  let isDraining = false;
  let lastEnd = -Infinity;
  const server = createServer((request, response) => {
    const client = request.socket.remoteAddress ?? '';
    const count = (clients.get(client) ?? 0) + 1;
    clients.set(client, count);
    const isBusy = underWay.size >= mostUnderWay || count > mostOfClient;
    const handled = handle(store, options, request, response, { isBusy, isDraining });
    underWay.add(handled);
    void handled.finally(() => {
      underWay.delete(handled);
      lastEnd = performance.now();
      const left = (clients.get(client) ?? 1) - 1;
      if (left > 0) clients.set(client, left);
      else clients.delete(client);
    });
  });
  server.requestTimeout = 0;
  server.timeout = idleTimeout;
  server.keepAliveTimeout = keepAliveTimeout;
  return {
    listen: async (host, port) => await listen(server, host, port, options.allowRemote === true),
    drain: async () => {
      isDraining = true;
      const quietFor = (): number => performance.now() - lastEnd;
      while (underWay.size > 0 || quietFor() < quietTime) {
        await Promise.all(underWay);
        await sleep(Math.min(quietTime, Math.max(0, quietTime - quietFor())));
      }
      server.close();
    },
    close: async () => {
      await close(server);
      await Promise.all(underWay);
    },
  };
}

async function listen(server: Server, host: string, port: number, allowRemote: boolean): Promise<Listening> {
  const address = host.includes(':') ? `[${host}]` : host;
  if (!allowRemote && !isLoopback(host)) {
    throw new AirliftError('usage', `listen on ${address}:${port}: not a loopback address`, {
      hint: 'it asks for no credentials: whoever reaches it may do everything. Pass `allowRemote` only on a network you trust',
    });
  }
  await new Promise<void>((done, fail) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'busy' : 'io';
      const happened = code === 'busy' ? 'the port is in use' : cause.message;
      fail(new AirliftError(code, `listen on ${address}:${port}: ${happened}`, { cause }));
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

async function handle(
  store: ContentStore,
  options: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  state: { readonly isBusy: boolean; readonly isDraining: boolean },
): Promise<void> {
  const { method = 'GET', url: target = '/' } = request;
  const period = options.stallTimeout ?? stallTimeout;
  watchPace(request, response, period);
  response.setHeader('Docker-Distribution-API-Version', 'registry/2.0');
  // A client that goes away shows itself where the stream is read or written; without a listener it would end the process.
  request.on('error', () => undefined);
  let reply: Reply;
  try {
    const parsed = parseTarget(target);
    reply =
      'refusal' in parsed
        ? parsed.refusal
        : state.isBusy || (state.isDraining && isBeginning(method, parsed.route))
          ? unavailable(state.isBusy)
          : await answer({ method, request, query: parsed.query, store, options }, parsed.route);
  } catch (error) {
    reply = failure(error);
  }
  try {
    if (!request.complete) drain(request);
    else request.socket.setTimeout(period);
    const bytes = await send(response, reply, method === 'HEAD');
    options.onRequest?.({ method, target, status: reply.status, bytes });
  } catch {
    response.destroy();
  }
}

/** Whether a request begins a pull or an upload; others belong to one that has begun. */
function isBeginning(method: string, route: Route): boolean {
  if (route.kind === 'manifest') return (method === 'GET' || method === 'HEAD') && !isDigest(route.reference);
  return route.kind === 'uploads';
}

function unavailable(isBusy: boolean): Reply {
  const reply = refuse(
    503,
    'UNKNOWN',
    isBusy ? 'too many requests at a time' : 'this registry is about to stop',
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

/** What each method does with what the path names. Methods that write are there for a store that takes them. */
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
 * Answers a request. A node that uses the registry as a mirror names the registry it stands for in `ns`: what is kept
 * under that name goes before what is not, so that one mirror can stand for several registries. A store that knows the registry
 * of each of its images answers for that registry alone.
 */
async function answer(call: Call, route: Route): Promise<Reply> {
  const mirrored = call.query.get('ns');
  if (mirrored !== null && 'repository' in route && (call.method === 'GET' || call.method === 'HEAD')) {
    const { store, request } = call;
    if (store.mirror !== undefined) {
      // A node that calls this very server by its own name asks for what is here under that name.
      if (mirrored === request.headers.host) return await answerAs(call, route);
      const held = store.mirror(mirrored, route.repository);
      if (held === undefined)
        return refuse(404, 'NAME_UNKNOWN', `nothing here is called ${mirrored}/${route.repository}`);
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

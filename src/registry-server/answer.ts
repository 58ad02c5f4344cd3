import { isDigest } from '../oci/digest.js';
import { isRepositoryPath } from '../oci/reference.js';
import type { Call } from './call.js';
import { listReferrers, listRepositories, listTags } from './lists.js';
import { deleteManifest, pushManifest } from './manifests.js';
import { pullBlob, pullManifest } from './pull.js';
import { json, refuse, type Reply } from './reply.js';
import type { Route } from './route.js';
import type { ContentStore } from './store-content.js';
import {
  cancelUpload,
  continueUpload,
  deleteBlob,
  finishUpload,
  startUpload,
  uploadStatus,
} from './uploads.js';

type Handler = (call: Call) => Promise<Reply>;

/** Returns the handler for each method of an endpoint. Methods that write need a store that accepts pushes. */
function handlersOf(route: Route, { push }: ContentStore): Partial<Record<string, Handler>> {
  switch (route.kind) {
    case 'metrics':
      return { GET: (call) => Promise.resolve(showMetrics(call)) };
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
export async function answer(call: Call, route: Route): Promise<Reply> {
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
    if (isRepositoryPath(repository) && (await mayAnswer(store, { ...route, repository }))) {
      const reply = await answerAs(call, { ...route, repository });
      if (reply.status !== 404) return reply;
    }
  }
  return await answerAs(call, route);
}

/** Whether a repository is worth asking: any repository has a list of referrers, which is no answer for another if it is empty. */
async function mayAnswer(store: ContentStore, route: Route & { repository: string }): Promise<boolean> {
  if (route.kind !== 'referrers' || !isDigest(route.digest)) return true;
  const referrers = store.referrers(route.repository, route.digest, undefined);
  for await (const _ of referrers) return true;
  return false;
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

function showMetrics({ formatMetrics }: Call): Reply {
  const headers = { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' };
  return { status: 200, headers, body: Buffer.from(formatMetrics()) };
}

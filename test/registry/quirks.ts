/** Registries with the quirks of real ones: a complete registry behind a proxy that answers some requests in its own way. */
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { serveStore } from '../support/serve-store.js';
import type { Cleanup } from '../support/temp.js';
import { startOddServer, type OddServer } from './odd-server.js';

/** A request to an odd registry. */
export interface QuirkCall {
  readonly method: string;
  /** Path and query as received. */
  readonly target: string;
  readonly url: URL;
  /** `manifests`, `blobs`, `referrers`, `tags` or `uploads`; empty for everything else. */
  readonly kind: string;
  readonly repository: string;
  /** Tag or digest. */
  readonly name: string;
  readonly headers: IncomingMessage['headers'];
  /** `127.0.0.1:PORT` of the odd registry. */
  readonly host: string;
}

/** A response that replaces the registry's. */
export interface QuirkAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A quirk of a registry. */
export interface Quirk {
  /** Returns a response that replaces the registry's, or another path to request; undefined leaves the request to the registry. */
  before?(call: QuirkCall): QuirkAnswer | string | undefined;
  /** Called with the status of the registry and the digest that it named. */
  after?(call: QuirkCall, status: number, digest: string | undefined): void;
  /** A header to remove from the registry's responses. */
  readonly hides?: string;
}

export interface QuirkyRegistry extends OddServer {
  /** The same registry without its quirks: `127.0.0.1:PORT`. */
  readonly plain: string;
}

export const htmlType = { 'content-type': 'text/html; charset=utf-8' };
export const htmlPage = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n';

/** Makes an error response in the format of registries. */
export function fault(status: number, code: string, headers: Record<string, string> = {}): QuirkAnswer {
  const body = JSON.stringify({ errors: [{ code, message: code.toLowerCase() }] });
  return { status, headers: { 'content-type': 'application/json', ...headers }, body };
}

function callOf(request: IncomingMessage, host: string): QuirkCall {
  const { method = '', url: target = '', headers } = request;
  const url = new URL(target, `http://${host}`);
  const upload = /^\/v2\/(.+)\/blobs\/uploads\/(.*)$/.exec(url.pathname);
  const match = /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/.exec(url.pathname);
  const [kind = '', repository = '', name = ''] =
    upload === null ? [match?.[2], match?.[1], match?.[3]] : ['uploads', upload[1], upload[2]];
  return { method, target, url, kind, repository, name, headers, host };
}

function sendResponse(
  response: ServerResponse,
  { status, headers, body = '' }: QuirkAnswer,
  isHead: boolean,
): void {
  response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers });
  response.end(isHead ? '' : body);
}

/** Starts a registry with one or more quirks; the first quirk that has a response is used. */
export async function startQuirky(t: Cleanup, ...quirks: readonly Quirk[]): Promise<QuirkyRegistry> {
  const plain = await serveStore(t);
  const server: OddServer = await startOddServer(t, (request, response) => {
    const call = callOf(request, server.host);
    let path = call.target;
    for (const quirk of quirks) {
      const own = quirk.before?.(call);
      if (typeof own === 'string') path = own;
      else if (own !== undefined) {
        request.resume().once('end', () => sendResponse(response, own, call.method === 'HEAD'));
        return;
      }
    }
    const [host = '', port] = plain.split(':');
    // The registry builds its addresses from the Host header.
    const options = { host, port, path, method: call.method, headers: request.headers, agent: false };
    const passed = httpRequest(options, (answered) => {
      const headers = { ...answered.headers };
      for (const { hides } of quirks) if (hides !== undefined) delete headers[hides];
      const status = answered.statusCode ?? 502;
      const digest = answered.headers['docker-content-digest'];
      for (const quirk of quirks) quirk.after?.(call, status, digest?.toString());
      response.writeHead(status, headers);
      answered.pipe(response);
    });
    passed.once('error', () => response.destroy());
    request.pipe(passed);
  });
  return { ...server, plain };
}

/** Without the referrers API, and without OCI-Subject after a push. */
export const noReferrersApi: Quirk = {
  hides: 'oci-subject',
  before: ({ kind }) => (kind === 'referrers' ? fault(404, 'NOT_FOUND') : undefined),
};

/** GitLab: the tag `sha256-HEX` resolves to the digest `sha256:HEX`, and cannot be pushed. */
export const gitlab: Quirk = {
  before: ({ kind, method, name, target }) => {
    if (kind !== 'manifests' || !/^sha256-[0-9a-f]{64}$/.test(name)) return undefined;
    if (method === 'PUT') return fault(400, 'MANIFEST_INVALID');
    return target.replace('sha256-', 'sha256:');
  },
};

/** Whether a request is for the manifest of a tag, not of a digest. */
export function isOfTag({ kind, method, name }: QuirkCall): boolean {
  return kind === 'manifests' && method !== 'PUT' && !name.includes(':');
}

/** Artifactory: 403 without a challenge for a missing tag. */
export function artifactory(known: ReadonlySet<string>): Quirk {
  const existing = new Set(known);
  return {
    before: (call) =>
      isOfTag(call) && !existing.has(call.name)
        ? fault(403, 'DENIED', { 'x-jfrog-version': '7' })
        : undefined,
    after: ({ kind, method, name }, status) => {
      if (kind === 'manifests' && method === 'PUT' && status === 201) existing.add(name);
    },
  };
}

/** GHCR: requests for referrers are redirected to a web page that responds with `status`. */
export function ghcr(status: number): Quirk {
  return {
    hides: 'oci-subject',
    before: ({ kind, url, host }) => {
      if (kind === 'referrers')
        return { status: 303, headers: { location: `http://${host}/-/v2/packages/container` } };
      return url.pathname.startsWith('/-/v2/') ? { status, headers: htmlType, body: htmlPage } : undefined;
    },
  };
}

/** A registry with a token service; `refuses` decides by the scopes which token requests it rejects. */
export function tokens(options: {
  refuses?(scopes: readonly string[]): number | undefined;
  /** Returns what a token with these scopes may not do. */
  forbids?(call: QuirkCall, scopes: readonly string[]): boolean;
}): Quirk & { readonly requestedScopes: string[][] } {
  const requestedScopes: string[][] = [];
  const granted = new Map<string, readonly string[]>();
  const before = (call: QuirkCall): QuirkAnswer | undefined => {
    const { url, host, headers, kind, repository, method } = call;
    if (url.pathname === '/token') {
      const scopes = url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '));
      requestedScopes.push(scopes);
      const refused = options.refuses?.(scopes);
      if (refused !== undefined) return fault(refused, 'DENIED');
      const token = `token-${requestedScopes.length}`;
      granted.set(`Bearer ${token}`, scopes);
      return {
        status: 200,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token }),
      };
    }
    const isWrite = method !== 'GET' && method !== 'HEAD';
    const scope = `repository:${repository}:${isWrite ? 'pull,push' : 'pull'}`;
    const challenge = {
      'www-authenticate': `Bearer realm="http://${host}/token",service="s",scope="${scope}"`,
    };
    const scopes = granted.get(headers.authorization ?? '');
    const isCovered =
      scopes?.some((text) => {
        const [, name, actions = ''] = /^repository:(.+):([^:]+)$/.exec(text) ?? [];
        return name === repository && (!isWrite || actions.split(',').includes('push'));
      }) === true;
    if (kind !== '' && (!isCovered || options.forbids?.(call, scopes ?? []) === true))
      return fault(401, 'UNAUTHORIZED', challenge);
    return undefined;
  };
  return { before, requestedScopes };
}

/** Quay: 401 for everything in a missing repository if the token may only pull; a push creates the repository. */
export function quay(): Quirk {
  const made = new Set<string>();
  const { before } = tokens({
    forbids: ({ repository, method }, scopes) => {
      if (scopes.some((scope) => scope.startsWith(`repository:${repository}:`) && scope.includes('push')))
        made.add(repository);
      return !made.has(repository) && (method === 'GET' || method === 'HEAD');
    },
  });
  return { before: (call) => before?.(call) };
}

/** Harbor with "prevent vulnerable images": manifests can be pushed, but not pulled until they are scanned. */
export function harbor(status = 412): Quirk {
  const held = new Set<string>();
  return {
    before: ({ kind, method, repository, name }) => {
      const isHeld = kind === 'manifests' && method !== 'PUT' && held.has(`${repository} ${name}`);
      return isHeld ? fault(status, 'PROJECTPOLICYVIOLATION') : undefined;
    },
    after: ({ kind, method, repository, name }, status) => {
      if (kind === 'manifests' && method === 'PUT' && status === 201) held.add(`${repository} ${name}`);
    },
  };
}

/** A tag that was set resolves to its old digest for the next `times` requests. */
export function stale(times: number): Quirk {
  const now = new Map<string, string>();
  const old = new Map<string, { digest: string; left: number }>();
  return {
    before: (call) => {
      const { kind, method, repository, name, target } = call;
      const key = `${repository} ${name}`;
      if (kind === 'manifests' && method === 'PUT') {
        const before = now.get(key);
        if (before !== undefined) old.set(key, { digest: before, left: times });
        return undefined;
      }
      const was = isOfTag(call) ? old.get(key) : undefined;
      if (was === undefined || was.left-- <= 0) return undefined;
      return target.replace(`/manifests/${name}`, `/manifests/${was.digest}`);
    },
    after: ({ kind, method, repository, name }, status, digest) => {
      if (kind === 'manifests' && method === 'PUT' && status === 201 && digest !== undefined)
        now.set(`${repository} ${name}`, digest);
    },
  };
}

/**
 * ACR, Nexus, OpenShift: accepted content is not found for the next `times` requests, and manifests whose children were just pushed
 * are rejected as often.
 */
export function eventual(times: number): Quirk {
  const hidden = new Map<string, number>();
  const early = new Map<string, number>();
  return {
    before: ({ kind, method, repository, name }) => {
      const key = `${repository} ${name}`;
      if (method === 'PUT' && kind === 'manifests') {
        const left = early.get(key) ?? times;
        early.set(key, left - 1);
        return left > 0 ? fault(404, 'MANIFEST_BLOB_UNKNOWN') : undefined;
      }
      const left = hidden.get(key) ?? 0;
      if (left <= 0 || (kind !== 'manifests' && kind !== 'blobs')) return undefined;
      hidden.set(key, left - 1);
      return fault(404, kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN');
    },
    after: ({ kind, method, repository, name, url }, status) => {
      if (method !== 'PUT' || status !== 201) return;
      hidden.set(`${repository} ${kind === 'uploads' ? url.searchParams.get('digest') : name}`, times);
    },
  };
}

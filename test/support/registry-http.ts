import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Credentials and certificates for a registry. */
export interface Access {
  readonly user?: string;
  readonly password?: string;
  /** Path of a certificate authority's certificate; selects HTTPS. */
  readonly ca?: string | undefined;
  readonly client?: { readonly cert: string; readonly key: string } | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body; empty if `onChunk` received it. */
  readonly body: Buffer;
}

export interface Ask {
  readonly method: string;
  /** A path at the registry, or a URL from one of its responses. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: { readonly size: number; open(): Iterable<Uint8Array> };
  readonly onChunk?: (chunk: Buffer) => void;
}

async function send(url: URL, ask: Ask, access: Access, authorization: string | undefined): Promise<Answer> {
  const headers: Record<string, string> = { ...ask.headers };
  if (authorization !== undefined) headers['authorization'] = authorization;
  if (ask.body !== undefined) headers['content-length'] = String(ask.body.size);
  const options = {
    method: ask.method,
    headers,
    agent: false as const,
    ...(access.ca === undefined ? {} : { ca: readFileSync(access.ca) }),
    ...(access.client === undefined
      ? {}
      : { cert: readFileSync(access.client.cert), key: readFileSync(access.client.key) }),
  };
  const request = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
  const response = new Promise<Answer>((done, fail) => {
    request.once('error', fail);
    request.once('response', (message) => {
      const chunks: Buffer[] = [];
      const isSuccess = message.statusCode !== undefined && message.statusCode < 300;
      message.on('data', (chunk: Buffer) => {
        if (isSuccess && ask.onChunk !== undefined) ask.onChunk(chunk);
        else chunks.push(chunk);
      });
      message.once('error', fail);
      message.once('end', () =>
        done({ status: message.statusCode ?? 0, headers: message.headers, body: Buffer.concat(chunks) }),
      );
    });
  });
  if (ask.body === undefined) request.end();
  // A registry may respond before it has read the whole body; then the response decides.
  else await pipeline(Readable.from(ask.body.open()), request).catch(() => undefined);
  return response;
}

async function tokenFor(challenge: string, access: Access): Promise<string> {
  const field = (name: string): string => new RegExp(`${name}="([^"]*)"`).exec(challenge)?.[1] ?? '';
  const url = new URL(field('realm'));
  url.searchParams.set('service', field('service'));
  if (field('scope') !== '') url.searchParams.set('scope', field('scope'));
  const answer = await send(url, { method: 'GET', path: '' }, {}, basic(access));
  const token = (JSON.parse(answer.body.toString()) as { token?: string }).token;
  if (token === undefined) throw new Error(`no token from ${url.href}: ${answer.status}`);
  return `Bearer ${token}`;
}

function basic(access: Access): string | undefined {
  if (access.user === undefined) return undefined;
  return `Basic ${Buffer.from(`${access.user}:${access.password ?? ''}`).toString('base64')}`;
}

/** The last accepted authorization, by user and repository. */
const authorizations = new Map<string, string>();

/** Returns the authorization that a registry requires to read a path. */
export async function authorizationFor(host: string, path: string, access: Access): Promise<string> {
  const { headers } = await askRegistry(host, { method: 'GET', path });
  const challenge = headers['www-authenticate'] ?? '';
  return challenge.startsWith('Bearer') ? tokenFor(challenge, access) : (basic(access) ?? '');
}

/** Sends a request to a registry, with credentials if it requires them. Does not follow redirects. */
export async function askRegistry(host: string, ask: Ask, access: Access = {}): Promise<Answer> {
  const url = new URL(ask.path, `${access.ca === undefined ? 'http' : 'https'}://${host}`);
  const key = `${access.user}@${host}/${/^(?:https?:\/\/[^/]+)?\/v2\/(.*)\/(?:blobs|manifests)\//.exec(ask.path)?.[1]}`;
  // A registry that rejects a request may break the connection while the body is being sent.
  const remembered = ask.body === undefined ? undefined : authorizations.get(key);
  const first = await send(url, ask, access, remembered);
  const challenge = first.headers['www-authenticate'];
  if (first.status !== 401 || challenge === undefined) return first;
  const authorization = challenge.startsWith('Bearer') ? await tokenFor(challenge, access) : basic(access);
  if (authorization === undefined) return first;
  authorizations.set(key, authorization);
  return send(url, ask, access, authorization);
}

/** The media types of images and indexes, for a header `Accept`. */
export const acceptManifests = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** Returns a manifest or blob of a registry without credentials, which must answer 200. */
export async function getContent(host: string, path: string): Promise<Buffer> {
  const answer = await askRegistry(host, { method: 'GET', path, headers: { accept: acceptManifests } });
  assert.equal(answer.status, 200, `GET ${path}`);
  return answer.body;
}

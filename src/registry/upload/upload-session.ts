import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf } from '../../oci/digest.js';
import { isNo, verdictOf } from '../../oci/guess.js';
import type { OpenContent } from '../../oci/target.js';
import { discard } from '../http/responses.js';
import type { Call, RegistryClient } from '../api/client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { mergeScopes, repositoryScope } from '../auth/scope.js';
import { headerOf } from '../http/headers.js';
import type { WireResponse } from '../http/wire.js';

/** A blob to upload. */
export interface UploadCall {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly open: OpenContent;
  /** Repository of the same registry to mount the blob from; the target itself if it may hold the blob already. */
  readonly mountFrom: string | undefined;
  readonly action: string;
  readonly signal: AbortSignal | undefined;
}

/** An upload in progress at a registry (distribution-spec, "Pushing blobs"). */
export interface UploadSession {
  readonly url: URL;
  /** Minimum bytes of every chunk except the last. */
  readonly minChunk: number;
}

/** Makes a request of an upload, with the scope that all of them need. */
export function uploadRequest(method: Call['method'], url: URL, call: UploadCall): Call {
  const { endpoint, action, signal } = call;
  return {
    endpoint,
    method,
    url,
    scopes: repositoryScope(endpoint.repository, 'pull', 'push'),
    action,
    signal,
  };
}

/**
 * Returns the address for the next request of an upload (distribution-spec, "Pushing a blob in chunks": `Location`, absolute or relative,
 * RFC 9110 section 10.2.2), including its query.
 * @throws AirliftError `registry` if there is none, or if it does not use TLS although the registry does
 */
export function locationOf(response: WireResponse, call: UploadCall): URL {
  const location = headerOf(response, 'location') ?? '';
  const { origin } = call.endpoint;
  if (location === '' || !URL.canParse(location, response.url.href))
    throw new AirliftError('registry', `${call.action}: the registry sent no upload location`);
  const url = new URL(location, response.url);
  // Behind a proxy that terminates TLS a registry may not know that clients use TLS.
  if (origin.startsWith('https:') && url.protocol === 'http:' && url.hostname === new URL(origin).hostname)
    return new URL(`${url.pathname}${url.search}`, origin);
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || origin.startsWith('https:')))
    throw new AirliftError(
      'registry',
      `${call.action}: the registry sent an upload location without TLS, ${url.protocol}//${url.host}`,
    );
  url.username = '';
  url.password = '';
  return url;
}

/** Parses how many bytes a registry has received, from a `Range` header like `0-1023`. */
export function receivedBytes(response: WireResponse): number | undefined {
  const match = /(?:^|=)0-(\d{1,15})$/.exec(headerOf(response, 'range')?.trim() ?? '');
  if (match === null) return undefined;
  // Registries that have nothing also send `0-0`.
  return match[1] === '0' ? 0 : Number(match[1]) + 1;
}

/** The progress of an upload: the bytes that the registry has, and the address for the next request. */
export interface Reached {
  readonly url: URL;
  readonly bytes: number;
}

/**
 * Asks a registry how much of an upload it has (distribution-spec, "Pushing a blob in chunks").
 * @returns the status of the response if the registry does not know the upload any more
 * @throws AirliftError as `RegistryClient.send`
 */
export async function requestReached(
  client: RegistryClient,
  url: URL,
  call: UploadCall,
): Promise<Reached | number> {
  const response = await client.send(uploadRequest('GET', url, call));
  await discard(response);
  const bytes = receivedBytes(response);
  const { status } = response;
  if (status < 200 || status >= 300 || bytes === undefined || bytes > call.descriptor.size) return status;
  return { url: headerOf(response, 'location') === undefined ? url : locationOf(response, call), bytes };
}

async function sessionOf(response: WireResponse, call: UploadCall): Promise<UploadSession> {
  await discard(response);
  const text = headerOf(response, 'oci-chunk-min-length') ?? '';
  return { url: locationOf(response, call), minChunk: /^\d{1,12}$/.test(text) ? Number(text) : 0 };
}

/** Remembers rejected mounts, so that not every blob is requested in vain. */
export class MountRejections {
  readonly #rejected = new Set<string>();

  /** Records a rejection. After a fault no mount is tried on the host again, after a rejection none between the two repositories. */
  record({ endpoint }: UploadCall, from: string, isFault: boolean): void {
    this.#rejected.add(isFault ? endpoint.origin : `${endpoint.origin} ${from} ${endpoint.repository}`);
  }

  has({ endpoint }: UploadCall, from: string): boolean {
    const { origin, repository } = endpoint;
    return this.#rejected.has(origin) || this.#rejected.has(`${origin} ${from} ${repository}`);
  }
}

/**
 * Requests a mount from a repository. If the registry rejects it or fails, or the token service rejects a scope for two repositories,
 * the blob is uploaded with a token for the target alone.
 * @returns `mounted`; the session if the registry started an upload instead; undefined if it did neither
 * @throws AirliftError `interrupted`
 */
async function tryMount(
  client: RegistryClient,
  call: UploadCall,
  uploads: URL,
  from: string,
  rejections: MountRejections,
): Promise<'mounted' | UploadSession | undefined> {
  if (rejections.has(call, from)) return undefined;
  const url = new URL(uploads);
  url.searchParams.set('mount', call.descriptor.digest);
  url.searchParams.set('from', from);
  const request = uploadRequest('POST', url, call);
  const scopes = mergeScopes(request.scopes, repositoryScope(from, 'pull'));
  try {
    const response = await client.send({ ...request, scopes });
    if (response.status === 202) return await sessionOf(response, call);
    await discard(response);
    if (response.status === 201) return 'mounted';
    // A missing blob says nothing about other blobs.
    if (response.status !== 404) rejections.record(call, from, !isNo(response.status));
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal') throw error;
    rejections.record(call, from, verdict === 'unanswered');
  }
  return undefined;
}

/**
 * Starts an upload, or mounts the blob (distribution-spec, "Mounting a blob from another repository").
 * @returns undefined if the blob was mounted
 * @throws AirliftError if the registry rejects the upload
 */
export async function startUpload(
  client: RegistryClient,
  call: UploadCall,
  rejections: MountRejections,
): Promise<UploadSession | undefined> {
  const { endpoint, descriptor, mountFrom } = call;
  const url = addressOf(endpoint, 'blobs/uploads/');
  const algorithm = algorithmOf(descriptor.digest);
  if (algorithm !== 'sha256') url.searchParams.set('digest-algorithm', algorithm);
  if (mountFrom !== undefined) {
    const mounted = await tryMount(client, call, url, mountFrom, rejections);
    if (mounted !== undefined) return mounted === 'mounted' ? undefined : mounted;
  }
  const request = uploadRequest('POST', url, call);
  const response = await client.send(request);
  if (response.status !== 202)
    throw withRepositoryHint(await client.errorFor(response, request, 'repository'));
  return sessionOf(response, call);
}

/** Adds a hint for registries that do not create a repository on push (ECR, Google Artifact Registry). */
function withRepositoryHint(error: AirliftError): AirliftError {
  const { code, message, status, reason, hint } = error;
  if (status !== 404 || hint !== undefined) return error;
  return new AirliftError(code, message, {
    status,
    reason,
    cause: error,
    hint: 'some registries (ECR, Google Artifact Registry) do not create a repository on push: create it first',
  });
}

/**
 * Makes the error for an upload that the registry does not know any more: it was completed but the response got lost, or another of
 * several registries behind one name started it. A new upload may succeed.
 */
export function lostUpload(call: UploadCall, status: number, cause: AirliftError): AirliftError {
  return new AirliftError('network', `${call.action}: the registry lost the upload (${status})`, {
    cause,
    hint: 'if several registries serve one name, they have to share their storage of uploads',
  });
}

/** Cancels an upload; errors are ignored (distribution's HTTP API, "Canceling an Upload"). */
export async function cancelUpload(
  client: RegistryClient,
  session: UploadSession,
  call: UploadCall,
): Promise<void> {
  try {
    const request = uploadRequest('DELETE', session.url, call);
    await discard(await client.send({ ...request, signal: undefined, once: true }));
  } catch {
    // The registry drops the upload by itself after a while.
  }
}

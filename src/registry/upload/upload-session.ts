import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf } from '../../oci/digest.js';
import { isNo, verdictOf } from '../../oci/guess.js';
import type { OpenContent } from '../../oci/target.js';
import { discard } from '../http/answers.js';
import type { Call, RegistryClient } from '../api/client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { mergeScopes, repositoryScope } from '../auth/scope.js';
import { headerOf } from '../http/headers.js';
import type { WireAnswer } from '../http/wire.js';

/** A blob to upload. */
export interface UploadCall {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly open: OpenContent;
  /** A repository of the same registry to mount the blob from. */
  readonly mountFrom: string | undefined;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
}

/** An upload that a registry has begun (distribution-spec, "Pushing blobs"). */
export interface UploadSession {
  readonly url: URL;
  /** The fewest bytes that a chunk but the last may have. */
  readonly minChunk: number;
}

/** A request of an upload, with the scope that all of them need. */
export function uploadRequest(method: Call['method'], url: URL, call: UploadCall): Call {
  const { endpoint, doing, signal } = call;
  return {
    endpoint,
    method,
    url,
    scopes: repositoryScope(endpoint.repository, 'pull', 'push'),
    doing,
    signal,
  };
}

/**
 * The address that an upload goes on at (distribution-spec, "Pushing a blob in chunks": `Location`, absolute or relative, RFC 9110
 * section 10.2.2), its query kept.
 * @throws AirliftError `registry` where there is none, or where it gives up TLS
 */
export function locationOf(answer: WireAnswer, call: UploadCall): URL {
  const location = headerOf(answer, 'location') ?? '';
  const { origin } = call.endpoint;
  if (location === '' || !URL.canParse(location, answer.url.href))
    throw new AirliftError('registry', `${call.doing}: the registry does not say where to upload to`);
  const url = new URL(location, answer.url);
  // Behind a proxy that ends TLS, registries may not know that they are reached over TLS.
  if (origin.startsWith('https:') && url.protocol === 'http:' && url.hostname === new URL(origin).hostname)
    return new URL(`${url.pathname}${url.search}`, origin);
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || origin.startsWith('https:')))
    throw new AirliftError(
      'registry',
      `${call.doing}: the registry wants the upload over ${url.protocol}//${url.host}`,
    );
  url.username = '';
  url.password = '';
  return url;
}

/** How many bytes a registry says that it has, by a `Range` header like `0-1023`. */
export function received(answer: WireAnswer): number | undefined {
  const match = /(?:^|=)0-(\d{1,15})$/.exec(headerOf(answer, 'range')?.trim() ?? '');
  if (match === null) return undefined;
  // Registries with nothing say `0-0` as well.
  return match[1] === '0' ? 0 : Number(match[1]) + 1;
}

/** How far an upload is, and where it goes on. */
export interface Reached {
  readonly url: URL;
  readonly bytes: number;
}

/**
 * Asks a registry how far an upload got (distribution-spec, "Pushing a blob in chunks").
 * @returns the status of the answer where the registry does not know it any more
 * @throws AirliftError what sending throws
 */
export async function askReached(
  client: RegistryClient,
  url: URL,
  call: UploadCall,
): Promise<Reached | number> {
  const answer = await client.send(uploadRequest('GET', url, call));
  await discard(answer);
  const bytes = received(answer);
  const { status } = answer;
  if (status < 200 || status >= 300 || bytes === undefined || bytes > call.descriptor.size) return status;
  return { url: headerOf(answer, 'location') === undefined ? url : locationOf(answer, call), bytes };
}

async function sessionOf(answer: WireAnswer, call: UploadCall): Promise<UploadSession> {
  await discard(answer);
  const text = headerOf(answer, 'oci-chunk-min-length') ?? '';
  return { url: locationOf(answer, call), minChunk: /^\d{1,12}$/.test(text) ? Number(text) : 0 };
}

/** Remembers where mounts were refused, so that each blob is not asked for in vain. */
export class MountRefusals {
  readonly #refused = new Set<string>();

  /** A host that failed over a mount is not asked for one again; a host that refused it, not for these two repositories. */
  note({ endpoint }: UploadCall, from: string, isFault: boolean): void {
    this.#refused.add(isFault ? endpoint.origin : `${endpoint.origin} ${from} ${endpoint.repository}`);
  }

  has({ endpoint }: UploadCall, from: string): boolean {
    const { origin, repository } = endpoint;
    return this.#refused.has(origin) || this.#refused.has(`${origin} ${from} ${repository}`);
  }
}

/**
 * Asks for a blob of another repository. Whatever comes of it but a mount or an upload (the registry refuses or fails, the token
 * service refuses a scope over two repositories) leads to an upload with the target's own token.
 * @returns undefined where there was no mount
 * @throws AirliftError `interrupted`
 */
async function tryMount(
  client: RegistryClient,
  call: UploadCall,
  uploads: URL,
  from: string,
  refusals: MountRefusals,
): Promise<'mounted' | UploadSession | undefined> {
  if (refusals.has(call, from)) return undefined;
  const url = new URL(uploads);
  url.searchParams.set('mount', call.descriptor.digest);
  url.searchParams.set('from', from);
  const request = uploadRequest('POST', url, call);
  const scopes = mergeScopes(request.scopes, repositoryScope(from, 'pull'));
  try {
    const answer = await client.send({ ...request, scopes });
    if (answer.status === 202) return await sessionOf(answer, call);
    await discard(answer);
    if (answer.status === 201) return 'mounted';
    // A blob that is not there says nothing of other blobs.
    if (answer.status !== 404) refusals.note(call, from, !isNo(answer.status));
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal') throw error;
    refusals.note(call, from, verdict === 'unanswered');
  }
  return undefined;
}

/**
 * Begins an upload, or has the blob mounted (distribution-spec, "Mounting a blob from another repository").
 * @returns undefined where the blob was mounted
 * @throws AirliftError where the registry refuses
 */
export async function startUpload(
  client: RegistryClient,
  call: UploadCall,
  refusals: MountRefusals,
): Promise<UploadSession | undefined> {
  const { endpoint, descriptor, mountFrom } = call;
  const url = addressOf(endpoint, 'blobs/uploads/');
  const algorithm = algorithmOf(descriptor.digest);
  if (algorithm !== 'sha256') url.searchParams.set('digest-algorithm', algorithm);
  if (mountFrom !== undefined && mountFrom !== endpoint.repository) {
    const mounted = await tryMount(client, call, url, mountFrom, refusals);
    if (mounted !== undefined) return mounted === 'mounted' ? undefined : mounted;
  }
  const request = uploadRequest('POST', url, call);
  const answer = await client.send(request);
  if (answer.status !== 202) throw withRepositoryHint(await client.refusal(answer, request, 'repository'));
  return sessionOf(answer, call);
}

/** Some registries (ECR, Google Artifact Registry) make no repository by a push. */
function withRepositoryHint(refusal: AirliftError): AirliftError {
  const { code, message, status, reason, hint } = refusal;
  if (status !== 404 || hint !== undefined) return refusal;
  return new AirliftError(code, message, {
    ...{ status, reason, cause: refusal },
    hint: 'some registries make no repository by a push (ECR, Google Artifact Registry): create it there first',
  });
}

/**
 * The error for an upload that the registry knows nothing of any more, because it ended although its answer was lost, or because
 * another of several registries behind one name began it. A new upload may go well.
 */
export function lostUpload(call: UploadCall, status: number, cause: AirliftError): AirliftError {
  return new AirliftError('network', `${call.doing}: the registry lost the upload (${status})`, {
    cause,
    hint: 'where several registries answer under one name, they have to share their uploads',
  });
}

/** Tells the registry to forget an upload that comes to nothing, as a courtesy (distribution's HTTP API, "Canceling an Upload"). */
export async function cancelUpload(
  client: RegistryClient,
  session: UploadSession,
  call: UploadCall,
): Promise<void> {
  try {
    const request = uploadRequest('DELETE', session.url, call);
    await discard(await client.send({ ...request, signal: undefined, once: true }));
  } catch {
    // It forgets by itself in time.
  }
}

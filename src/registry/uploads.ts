import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, Verifier } from '../oci/digest.js';
import type { OpenContent, Pushed } from '../oci/target.js';
import { discard } from './answers.js';
import { backoff, isPassing, pause } from './backoff.js';
import type { Call, RegistryClient } from './client.js';
import { addressOf, type Endpoint } from './endpoint.js';
import { checkHeld } from './manifests.js';
import { mergeScopes, repositoryScope, type Scopes } from './scope.js';
import { headerOf, type SentContent, type WireAnswer } from './wire.js';

export interface UploadCall {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly open: OpenContent;
  /** A repository of the same registry to mount the blob from. */
  readonly mountFrom: string | undefined;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
}

/** Content that is verified as it is sent. The last chunk is held back until all is known to be right: wrong content never ends. */
function verified(descriptor: Descriptor, open: OpenContent): SentContent {
  async function* read(): AsyncGenerator<Uint8Array> {
    const verifier = new Verifier(descriptor.digest, descriptor.size);
    const stream: Readable = await open(0);
    let held: Uint8Array | undefined;
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      if (chunk.byteLength === 0) continue;
      verifier.update(chunk);
      if (held !== undefined) yield held;
      held = chunk;
    }
    verifier.end();
    if (held !== undefined) yield held;
  }
  return { size: descriptor.size, open: read };
}

/** Puts blobs into repositories (distribution-spec, "Pushing blobs", "Mounting a blob from another repository"). */
export class Uploads {
  constructor(readonly client: RegistryClient) {}

  /**
   * Uploads or mounts a blob.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is not what the descriptor says: it does not
   *   become part of the repository; what `open` throws
   */
  async push(call: UploadCall): Promise<Pushed> {
    const { retries, retryDelay } = this.client.exchange.settings;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#try(call);
      } catch (error) {
        const mayPass =
          isAirliftError(error, 'network') ||
          (error instanceof AirliftError && error.status !== undefined && isPassing(error.status));
        if (!mayPass || attempt > retries) throw error;
      }
      await pause(backoff(attempt, retryDelay), call.doing, call.signal);
    }
  }

  async #try(call: UploadCall): Promise<Pushed> {
    const session = await this.#start(call);
    if (session === undefined) return 'mounted';
    try {
      await this.#putWhole(call, session);
    } catch (error) {
      await this.#cancel(call, session);
      throw error;
    }
    return 'uploaded';
  }

  /** Begins an upload session and returns its address, or undefined where the blob was mounted instead. */
  async #start(call: UploadCall): Promise<URL | undefined> {
    const { endpoint, descriptor, mountFrom } = call;
    const url = addressOf(endpoint, 'blobs/uploads/');
    const algorithm = algorithmOf(descriptor.digest);
    if (algorithm !== 'sha256') url.searchParams.set('digest-algorithm', algorithm);
    if (mountFrom !== undefined && mountFrom !== endpoint.repository) {
      const mount = new URL(url);
      mount.searchParams.set('mount', descriptor.digest);
      mount.searchParams.set('from', mountFrom);
      const answer = await this.client.send({
        ...this.#call('POST', mount, call),
        scopes: mergeScopes(this.#scopes(call), repositoryScope(mountFrom, 'pull')),
      });
      if (answer.status === 201) {
        await discard(answer);
        return undefined;
      }
      if (answer.status === 202) return this.#sessionOf(answer, call);
      // Some registries refuse what they can't mount instead of going on without.
      await discard(answer);
    }
    const request = this.#call('POST', url, call);
    const answer = await this.client.send(request);
    if (answer.status !== 202) throw await this.client.refusal(answer, request, 'repository');
    return this.#sessionOf(answer, call);
  }

  async #putWhole(call: UploadCall, session: URL): Promise<void> {
    const url = new URL(session);
    url.searchParams.set('digest', call.descriptor.digest);
    const { size } = call.descriptor;
    const content = verified(call.descriptor, call.open);
    if (size === 0) for await (const chunk of content.open()) void chunk;
    const request: Call = {
      ...this.#call('PUT', url, call),
      headers: { 'content-type': 'application/octet-stream' },
      body: size === 0 ? new Uint8Array() : content,
      once: true,
    };
    const answer = await this.client.send(request);
    if (answer.status < 200 || answer.status >= 300) throw await this.client.refusal(answer, request, 'blob');
    await discard(answer);
    checkHeld(answer, call.descriptor.digest, call.doing);
  }

  /** Tells the registry to forget a session that comes to nothing, as a courtesy. */
  async #cancel(call: UploadCall, session: URL): Promise<void> {
    try {
      await discard(
        await this.client.send({ ...this.#call('DELETE', session, call), signal: undefined, once: true }),
      );
    } catch {
      // It forgets by itself in time.
    }
  }

  async #sessionOf(answer: WireAnswer, call: UploadCall): Promise<URL> {
    await discard(answer);
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

  #scopes(call: UploadCall): Scopes {
    return repositoryScope(call.endpoint.repository, 'pull', 'push');
  }

  #call(method: Call['method'], url: URL, call: UploadCall): Call {
    const { endpoint, doing, signal } = call;
    return { endpoint, method, url, scopes: this.#scopes(call), doing, signal };
  }
}

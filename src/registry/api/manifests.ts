import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { isNo } from '../../oci/guess.js';
import { manifestTypeOf, maxManifestSize, parseManifest } from '../../oci/manifest.js';
import { isManifest, isSchema1, manifestAccept } from '../../oci/media-types.js';
import { discard, isHtml, readBody } from '../http/answers.js';
import type { BlobCall } from './blobs.js';
import type { Call, RegistryClient } from './client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { RateBudgetKeeper } from '../http/limits.js';
import { repositoryScope } from '../auth/scope.js';
import { headerOf, lengthOf } from '../http/headers.js';
import type { WireAnswer } from '../http/wire.js';

/** Whether a web page answers in a registry's place: what names the digest of its content is a registry, whatever label it gives. */
function isPage(answer: WireAnswer): boolean {
  return isHtml(answer) && !isDigest(headerOf(answer, 'docker-content-digest'));
}

/** A manifest's bytes as they came. */
export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export interface ManifestCall {
  readonly endpoint: Endpoint;
  /** A tag or a digest. */
  readonly name: string;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** As in `Call`. */
  readonly once?: boolean | undefined;
  readonly isFinal?: Call['isFinal'];
}

const accept = manifestAccept.join(', ');

function mediaTypeOf(answer: WireAnswer): string {
  return (headerOf(answer, 'content-type') ?? '').split(';')[0]?.trim() ?? '';
}

/** Manifests of a repository (distribution-spec, "Pulling manifests", "Pushing Manifests"). */
export class Manifests {
  /** Hosts that answer `HEAD` in full. Others may answer it as if nothing were there. */
  readonly #answerHead = new Set<string>();

  constructor(
    readonly client: RegistryClient,
    readonly budget?: RateBudgetKeeper | undefined,
  ) {}

  /**
   * What a tag or digest points at, by `HEAD` where the registry answers that in full, else undefined.
   * @param isGuess a registry that is known to answer `HEAD` is believed where it says no
   * @throws AirliftError
   */
  async head(call: ManifestCall, isGuess = false): Promise<Descriptor | undefined> {
    const { origin } = call.endpoint;
    const answer = await this.client.send(this.#call('HEAD', call));
    await discard(answer);
    if (answer.status === 401 || answer.status === 429 || answer.status >= 500)
      throw await this.client.refusal(answer, call, 'manifest');
    if (isGuess && isNo(answer.status) && answer.status !== 200 && this.#answerHead.has(origin))
      throw await this.client.refusal(answer, call, 'manifest');
    const digest = headerOf(answer, 'docker-content-digest');
    const size = lengthOf(answer);
    const mediaType = mediaTypeOf(answer);
    if (answer.status !== 200 || !isDigest(digest) || size === undefined || size === 0) return undefined;
    // What is labelled in another way is looked at: its content says what it is.
    if (!isManifest(mediaType)) return undefined;
    this.#answerHead.add(origin);
    if (isDigest(call.name) && algorithmOf(call.name) === algorithmOf(digest) && call.name !== digest)
      return undefined;
    return { mediaType, digest: isDigest(call.name) ? call.name : digest, size };
  }

  /**
   * Fetches a manifest by `GET` and checks its bytes against the digest asked for and the one the registry names.
   * @throws AirliftError `not-found`; `digest-mismatch` where content and digest differ; `registry` where it is no manifest or
   *   over 4 MiB; `unsupported` for Docker schema 1
   */
  async get(call: ManifestCall): Promise<FetchedManifest> {
    try {
      return await this.#get(call);
    } catch (error) {
      // A byte may have flipped on the way; twice it is the registry's fault.
      if (!isAirliftError(error, 'digest-mismatch')) throw error;
      return this.#get(call);
    }
  }

  async #get(call: ManifestCall): Promise<FetchedManifest> {
    const request: Call = { ...this.#call('GET', call), whole: maxManifestSize };
    const { doing, endpoint, signal } = call;
    const refresh = (): Promise<unknown> => this.head(call);
    const answered = await this.budget?.take({ origin: endpoint.origin, doing, signal, refresh });
    const answer = await this.client.send(request).finally(answered);
    if (answer.status !== 200) throw await this.client.refusal(answer, request, 'manifest');
    if (isPage(answer)) throw await this.client.refusal(answer, request, 'manifest');
    const length = lengthOf(answer) ?? 0;
    if (length > maxManifestSize) {
      answer.body.on('error', () => undefined).destroy();
      throw new AirliftError(
        'registry',
        `${doing}: manifest is too large; got ${length} bytes, want at most ${maxManifestSize}`,
      );
    }
    const bytes = await readBody(answer.body, maxManifestSize, doing);
    const label = mediaTypeOf(answer);
    // Of signed schema 1, the digest leaves out the signatures: it is refused by name first, where the label is true.
    if (isSchema1(label)) manifestTypeOf(bytes, label, `answer to ${doing}`);
    const named = headerOf(answer, 'docker-content-digest');
    const wanted = isDigest(call.name) ? call.name : isDigest(named) ? named : undefined;
    const digest = digestOf(bytes, wanted === undefined ? 'sha256' : algorithmOf(wanted));
    if (wanted !== undefined && digest !== wanted)
      throw new AirliftError(
        'digest-mismatch',
        `${doing}: manifest is not what its digest says; got ${digest}, want ${wanted}`,
      );
    if (isDigest(named) && named !== digest && named !== digestOf(bytes, algorithmOf(named)))
      throw new AirliftError(
        'digest-mismatch',
        `${doing}: the registry names another digest than the manifest has; got ${named}, want ${digest}`,
      );
    const mediaType = manifestTypeOf(bytes, label, `answer to ${doing}`);
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
  }

  /**
   * Whether a manifest is there, in full.
   * @throws AirliftError where the registry says neither yes nor 404
   */
  async exists({ descriptor, ...rest }: BlobCall): Promise<boolean> {
    const call = { ...rest, name: descriptor.digest };
    const answer = await this.client.send(this.#call('HEAD', call));
    await discard(answer);
    if (answer.status === 404) return false;
    if (answer.status === 405 || answer.status === 501) return this.#existsByGet(call);
    if (answer.status !== 200 || isPage(answer)) throw await this.client.refusal(answer, call, 'manifest');
    const digest = headerOf(answer, 'docker-content-digest');
    const size = lengthOf(answer);
    const isSame =
      !isDigest(digest) ||
      algorithmOf(digest) !== algorithmOf(descriptor.digest) ||
      digest === descriptor.digest;
    return isSame && (size === undefined || size === 0 || size === descriptor.size);
  }

  async #existsByGet(call: ManifestCall): Promise<boolean> {
    try {
      await this.get(call);
      return true;
    } catch (error) {
      if (error instanceof AirliftError && error.code === 'not-found') return false;
      throw error;
    }
  }

  /**
   * Puts a manifest under a tag or under its digest.
   * @returns the registry's answer headers
   * @throws AirliftError `digest-mismatch` where the registry says that it holds something else now
   */
  async put(call: ManifestCall, descriptor: Descriptor, bytes: Uint8Array): Promise<WireAnswer['headers']> {
    if (!hasLayerUrls(bytes)) return this.#put(call, descriptor, bytes);
    try {
      // docker-registry answers 500 to layers with urls, however often: the first such answer is looked at.
      return await this.#put({ ...call, isFinal: ({ status }) => status === 500 }, descriptor, bytes);
    } catch (error) {
      if (!(error instanceof AirliftError) || error.status !== 500 || error.reason === 'UNKNOWN')
        throw withLayerUrlsHint(error);
    }
    return this.#put(call, descriptor, bytes).catch((error: unknown) => {
      throw withLayerUrlsHint(error);
    });
  }

  async #put(call: ManifestCall, descriptor: Descriptor, bytes: Uint8Array): Promise<WireAnswer['headers']> {
    const request: Call = {
      ...this.#call('PUT', call),
      headers: { 'content-type': descriptor.mediaType },
      body: bytes,
      scopes: repositoryScope(call.endpoint.repository, 'pull', 'push'),
    };
    const answer = await this.client.send(request);
    if (answer.status < 200 || answer.status >= 300)
      throw await this.client.refusal(answer, request, 'manifest');
    await discard(answer);
    checkHeld(answer, descriptor.digest, call.doing);
    return answer.headers;
  }

  #call(method: Call['method'], call: ManifestCall): Call {
    const { endpoint, name, doing, signal, once, isFinal } = call;
    return {
      endpoint,
      method,
      url: addressOf(endpoint, `manifests/${name}`),
      headers: { accept },
      scopes: repositoryScope(endpoint.repository, 'pull'),
      doing,
      signal,
      once,
      isFinal,
    };
  }
}

/**
 * Checks what a registry says that it holds after an upload.
 * @throws AirliftError `digest-mismatch`
 */
export function checkHeld(answer: WireAnswer, digest: Digest, doing: string): void {
  const held = headerOf(answer, 'docker-content-digest');
  if (!isDigest(held) || algorithmOf(held) !== algorithmOf(digest) || held === digest) return;
  throw new AirliftError(
    'digest-mismatch',
    `${doing}: the registry holds something else now; got ${held}, want ${digest}`,
  );
}

/** Statuses by which registries refuse a manifest for what is in it; distribution 2.8 answers 500 to layers with `urls`. */
const refusals: ReadonlySet<number> = new Set([400, 403, 422, 500]);

/** Whether a manifest has layers that are to be fetched elsewhere (image-spec, descriptor.md, `urls`). */
function hasLayerUrls(bytes: Uint8Array): boolean {
  // Most manifests have none: those are not parsed.
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('"urls"')) return false;
  try {
    const manifest = parseManifest(bytes, undefined, 'manifest');
    return manifest.kind === 'manifest' && manifest.layers.some(({ urls = [] }) => urls.length > 0);
  } catch {
    return false;
  }
}

/** Adds what helps where a registry refuses a manifest that has layers with `urls` (distribution, "validation"). */
function withLayerUrlsHint(error: unknown): unknown {
  if (!(error instanceof AirliftError) || !refusals.has(error.status ?? 0)) return error;
  return new AirliftError(error.code, `${error.message}; the manifest has layers with urls`, {
    status: error.status,
    reason: error.reason,
    cause: error,
    hint:
      'docker-registry refuses layers with urls, as Windows images have, by default: start it with ' +
      `REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW='[".*"]', or leave that platform out by \`platforms\` of export or copy`,
  });
}

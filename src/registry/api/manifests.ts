import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { isNo } from '../../oci/guess.js';
import { manifestTypeOf, maxManifestSize, parseManifest } from '../../oci/manifest.js';
import { isManifest, isSchema1, manifestAccept } from '../../oci/media-types.js';
import { repositoryScope } from '../auth/scope.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { headerOf, lengthOf } from '../http/headers.js';
import type { RateBudgetKeeper } from '../http/limits.js';
import { abandon, discard, isHtml, readBody } from '../http/responses.js';
import type { WireResponse } from '../http/wire.js';
import type { BlobCall } from './blobs.js';
import type { Call, RegistryClient } from './client.js';

/** Whether a web page came instead of a manifest. A response that names the digest of its content is from a registry, whatever its type. */
function isWebPage(response: WireResponse): boolean {
  return isHtml(response) && !isDigest(headerOf(response, 'docker-content-digest'));
}

/** The exact bytes of a manifest, verified. */
export interface ManifestContent {
  readonly digest: Digest;
  readonly bytes: Buffer;
  /** The media type that the registry sent. */
  readonly label: string;
}

/** A manifest with a descriptor, whose media type is that of the content. */
export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export interface ManifestCall {
  readonly endpoint: Endpoint;
  /** A tag or a digest. */
  readonly name: string;
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
  /** As in `Call`. */
  readonly once?: boolean | undefined;
  readonly isFinal?: Call['isFinal'];
}

const accept = manifestAccept.join(', ');

function mediaTypeOf(response: WireResponse): string {
  return (headerOf(response, 'content-type') ?? '').split(';')[0]?.trim() ?? '';
}

/** Manifests of a repository (distribution-spec, "Pulling manifests", "Pushing Manifests"). */
export class Manifests {
  /** Origins that answer `HEAD` completely. Others may answer 404 to a `HEAD` for a manifest that exists. */
  readonly #completeHead = new Set<string>();

  constructor(
    readonly client: RegistryClient,
    readonly budget?: RateBudgetKeeper | undefined,
  ) {}

  /**
   * Resolves a tag or digest by `HEAD`.
   * @param isGuess trust a 404 from a registry that is known to answer `HEAD` completely
   * @returns undefined if the response is incomplete, so that `GET` has to decide
   * @throws AirliftError
   */
  async head(call: ManifestCall, isGuess = false): Promise<Descriptor | undefined> {
    const { origin } = call.endpoint;
    const response = await this.client.send(this.#call('HEAD', call));
    await discard(response);
    const { status } = response;
    if (status === 401 || status === 429 || status >= 500)
      throw await this.client.errorFor(response, call, 'manifest');
    if (isGuess && isNo(status) && status !== 200 && this.#completeHead.has(origin))
      throw await this.client.errorFor(response, call, 'manifest');
    const digest = headerOf(response, 'docker-content-digest');
    const size = lengthOf(response);
    const mediaType = mediaTypeOf(response);
    if (status !== 200 || !isDigest(digest) || size === undefined || size === 0) return undefined;
    // With another label only the content shows what it is.
    if (!isManifest(mediaType)) return undefined;
    this.#completeHead.add(origin);
    if (isDigest(call.name) && algorithmOf(call.name) === algorithmOf(digest) && call.name !== digest)
      return undefined;
    return { mediaType, digest: isDigest(call.name) ? call.name : digest, size };
  }

  /**
   * Fetches a manifest and determines its media type by its content.
   * @throws AirliftError as `getContent`; `input` if the content is not a manifest
   */
  async get(call: ManifestCall): Promise<FetchedManifest> {
    const { digest, bytes, label } = await this.getContent(call);
    const mediaType = manifestTypeOf(bytes, label, `response to ${call.action}`);
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
  }

  /**
   * Fetches the bytes of a manifest and verifies them against the requested digest and the one that the registry names.
   * @throws AirliftError `not-found`; `digest-mismatch`; `registry` if the manifest is larger than 4 MiB; `unsupported` for Docker schema 1
   */
  async getContent(call: ManifestCall): Promise<ManifestContent> {
    try {
      return await this.#getContent(call);
    } catch (error) {
      // The content may have changed on the way; if it is wrong twice, the registry has it wrong.
      if (!isAirliftError(error, 'digest-mismatch')) throw error;
      return this.#getContent(call);
    }
  }

  async #getContent(call: ManifestCall): Promise<ManifestContent> {
    const request: Call = { ...this.#call('GET', call), whole: maxManifestSize };
    const { action, endpoint, signal } = call;
    const refresh = (): Promise<unknown> => this.head(call);
    const settle = await this.budget?.reserve({ origin: endpoint.origin, action, signal, refresh });
    const response = await this.client.send(request).finally(settle);
    if (response.status !== 200 || isWebPage(response))
      throw await this.client.errorFor(response, request, 'manifest');
    const length = lengthOf(response) ?? 0;
    if (length > maxManifestSize) {
      abandon(response);
      throw new AirliftError(
        'registry',
        `${action}: manifest is too large; got ${length} bytes, want at most ${maxManifestSize}`,
      );
    }
    const bytes = await readBody(response.body, maxManifestSize, action);
    const label = mediaTypeOf(response);
    // The digest of a signed schema 1 manifest does not cover its signatures: reject it before the digest is compared.
    if (isSchema1(label)) manifestTypeOf(bytes, label, `response to ${action}`);
    const named = headerOf(response, 'docker-content-digest');
    const expected = isDigest(call.name) ? call.name : isDigest(named) ? named : undefined;
    const digest = digestOf(bytes, expected === undefined ? 'sha256' : algorithmOf(expected));
    if (expected !== undefined && digest !== expected)
      throw new AirliftError(
        'digest-mismatch',
        `${action}: digest mismatch; got ${digest}, want ${expected}`,
      );
    if (isDigest(named) && named !== digest && named !== digestOf(bytes, algorithmOf(named)))
      throw new AirliftError(
        'digest-mismatch',
        `${action}: Docker-Content-Digest does not match the manifest; got ${named}, want ${digest}`,
      );
    return { digest, bytes, label };
  }

  /**
   * Whether a manifest exists with its full size.
   * @throws AirliftError if the registry answers neither yes nor 404
   */
  async exists({ descriptor, ...rest }: BlobCall): Promise<boolean> {
    const call = { ...rest, name: descriptor.digest };
    const response = await this.client.send(this.#call('HEAD', call));
    await discard(response);
    if (response.status === 404) return false;
    if (response.status === 405 || response.status === 501) return this.#existsByGet(call);
    if (response.status !== 200 || isWebPage(response))
      throw await this.client.errorFor(response, call, 'manifest');
    const digest = headerOf(response, 'docker-content-digest');
    const size = lengthOf(response);
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
      if (isAirliftError(error, 'not-found')) return false;
      throw error;
    }
  }

  /**
   * Pushes a manifest under a tag or under its digest.
   * @returns the headers of the response
   * @throws AirliftError `digest-mismatch` if the registry reports another digest
   */
  async put(call: ManifestCall, descriptor: Descriptor, bytes: Uint8Array): Promise<WireResponse['headers']> {
    if (!hasLayerUrls(bytes)) return this.#put(call, descriptor, bytes);
    try {
      // docker-registry always answers 500 to layers with urls: the first 500 is inspected instead of retried.
      return await this.#put({ ...call, isFinal: ({ status }) => status === 500 }, descriptor, bytes);
    } catch (error) {
      if (!(error instanceof AirliftError) || error.status !== 500 || error.reason === 'UNKNOWN')
        throw withLayerUrlsHint(error);
    }
    return this.#put(call, descriptor, bytes).catch((error: unknown) => {
      throw withLayerUrlsHint(error);
    });
  }

  async #put(
    call: ManifestCall,
    descriptor: Descriptor,
    bytes: Uint8Array,
  ): Promise<WireResponse['headers']> {
    const request: Call = {
      ...this.#call('PUT', call),
      headers: { 'content-type': descriptor.mediaType },
      body: bytes,
      scopes: repositoryScope(call.endpoint.repository, 'pull', 'push'),
    };
    const response = await this.client.send(request);
    if (response.status < 200 || response.status >= 300)
      throw await this.client.errorFor(response, request, 'manifest');
    await discard(response);
    checkReportedDigest(response, descriptor.digest, call.action);
    return response.headers;
  }

  #call(method: Call['method'], call: ManifestCall): Call {
    const { endpoint, name, action, signal, once, isFinal } = call;
    return {
      endpoint,
      method,
      url: addressOf(endpoint, `manifests/${name}`),
      headers: { accept },
      scopes: repositoryScope(endpoint.repository, 'pull'),
      action,
      signal,
      once,
      isFinal,
    };
  }
}

/**
 * Checks the digest that a registry reports after an upload.
 * @throws AirliftError `digest-mismatch`
 */
export function checkReportedDigest(response: WireResponse, digest: Digest, action: string): void {
  const reported = headerOf(response, 'docker-content-digest');
  if (!isDigest(reported) || algorithmOf(reported) !== algorithmOf(digest) || reported === digest) return;
  throw new AirliftError(
    'digest-mismatch',
    `${action}: the registry stored other content; got ${reported}, want ${digest}`,
  );
}

/** Statuses with which registries reject a manifest for its content; distribution 2.8 answers 500 to layers with `urls`. */
const rejections: ReadonlySet<number> = new Set([400, 403, 422, 500]);

/** Whether a manifest has layers with `urls` (image-spec, descriptor.md). */
function hasLayerUrls(bytes: Uint8Array): boolean {
  // Most manifests have none and are not parsed.
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('"urls"')) return false;
  try {
    const manifest = parseManifest(bytes, undefined, 'manifest');
    return manifest.kind === 'manifest' && manifest.layers.some(({ urls = [] }) => urls.length > 0);
  } catch {
    return false;
  }
}

/** Adds a hint to the error of a registry that rejects a manifest with layer `urls` (distribution, "validation"). */
function withLayerUrlsHint(error: unknown): unknown {
  if (!(error instanceof AirliftError) || !rejections.has(error.status ?? 0)) return error;
  return new AirliftError(error.code, `${error.message}; the manifest has layers with urls`, {
    status: error.status,
    reason: error.reason,
    cause: error,
    hint:
      'docker-registry by default rejects layers with urls, which Windows images have: start it with ' +
      `REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW='[".*"]', or leave that platform out by \`platforms\` of export or copy`,
  });
}

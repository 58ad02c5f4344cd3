import { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { repositoryScope } from '../auth/scope.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { headerOf, lengthOf } from '../http/headers.js';
import { redactUrl } from '../http/redact.js';
import { abandon, discard, isHtml, responseError } from '../http/responses.js';
import type { WireResponse } from '../http/wire.js';
import type { Call, RegistryClient } from './client.js';

export interface BlobCall {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
}

/** A file that is fetched by its address. */
export interface FileCall {
  readonly url: URL;
  readonly size: number;
  readonly signal?: AbortSignal | undefined;
  /** The registry as messages name it. */
  readonly registry: string;
  /** What the file is, for "not found". */
  readonly thing: 'blob' | 'file';
}

/** Returns the headers that request everything from `offset` on (`Range`, RFC 9110 section 14.2). */
function rangeFrom(offset: number): Record<string, string> {
  return offset === 0 ? {} : { range: `bytes=${offset}-` };
}

/**
 * Returns the body of a response, after checks that it is the blob from `offset` on: 206 or 416 for a range (RFC 9110 sections 15.3.7 and
 * 15.5.17), no content coding (`Content-Encoding`, section 8.4), the expected length.
 * @throws AirliftError as `Blobs.fetch`
 */
async function contentOf(
  response: WireResponse,
  size: number,
  offset: number,
  action: string,
  makeError: () => Promise<AirliftError>,
): Promise<Readable> {
  if (offset > 0 && (response.status === 200 || response.status === 416)) {
    abandon(response);
    throw new AirliftError('unsupported', `${action}: the registry cannot resume at byte ${offset}`, {
      status: response.status,
    });
  }
  if (response.status !== (offset === 0 ? 200 : 206)) throw await makeError();
  if (offset > 0) checkRange(response, offset, size, action);
  const length = lengthOf(response);
  const encoding = headerOf(response, 'content-encoding') ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    abandon(response);
    throw new AirliftError(
      'registry',
      `${action}: the response is encoded; got ${encoding.slice(0, 40)}, want identity`,
    );
  }
  if (length !== undefined && length !== size - offset) {
    abandon(response);
    throw new AirliftError(
      'size-mismatch',
      `${action}: wrong Content-Length; got ${length} bytes, want ${size - offset}`,
    );
  }
  return response.body;
}

/** The most `urls` of a descriptor to try. */
const maxAddresses = 8;

function addressesOf({ urls = [] }: Descriptor): URL[] {
  return urls
    .filter((text) => URL.canParse(text))
    .map((text) => new URL(text))
    .filter((url) => url.protocol === 'https:' || url.protocol === 'http:')
    .slice(0, maxAddresses)
    .map((url) => {
      url.username = '';
      url.password = '';
      return url;
    });
}

/** Blobs of a repository (distribution-spec, "Pulling blobs", "Checking if content exists in the registry"). */
export class Blobs {
  constructor(readonly client: RegistryClient) {}

  /**
   * Fetches a blob from `offset` on. The content is not verified.
   * @throws AirliftError `not-found`; `size-mismatch` if the length differs from the descriptor; `unsupported` if the registry cannot
   *   resume at `offset`
   */
  async fetch(call: BlobCall, offset: number): Promise<Readable> {
    const { descriptor, action } = call;
    const { size } = descriptor;
    if (offset > size || offset < 0)
      throw new AirliftError('usage', `${action}: offset out of range; got ${offset}, want at most ${size}`);
    if (offset === size && offset > 0) return Readable.from([], { objectMode: false });
    const request = this.#call('GET', call, rangeFrom(offset));
    const response = await this.client.send(request);
    return contentOf(response, size, offset, action, () => this.client.errorFor(response, request, 'blob'));
  }

  /**
   * Fetches a blob from the `urls` of its descriptor (image-spec, descriptor.md), which foreign layers have. No authorization is sent, and
   * user names and passwords in the addresses are ignored.
   * @throws AirliftError the error of the last address; `not-found` if there is no address to try
   */
  async fetchForeign(
    call: Omit<BlobCall, 'endpoint'> & { registry: string },
    offset: number,
  ): Promise<Readable> {
    const { descriptor, action, signal, registry } = call;
    const { size } = descriptor;
    let lastError: AirliftError | undefined;
    for (const url of addressesOf(descriptor)) {
      try {
        return await this.fetchFile({ url, size, signal, registry, thing: 'blob' }, offset);
      } catch (error) {
        if (!(error instanceof AirliftError) || error.code === 'interrupted') throw error;
        lastError = error;
      }
    }
    const urls =
      lastError === undefined
        ? 'and its descriptor has no HTTP urls'
        : `nor at the urls of its descriptor: ${lastError.message}`;
    throw new AirliftError(lastError?.code ?? 'not-found', `${action}: not in the registry, ${urls}`, {
      cause: lastError,
      status: lastError?.status,
      hint: "to transfer the image without the content of such layers pass `foreignLayers: 'keep'`",
    });
  }

  /**
   * Fetches a file by its address, from `offset` on. No authorization is sent, and the content is not verified.
   * @throws AirliftError as `fetch`
   */
  async fetchFile(file: FileCall, offset: number): Promise<Readable> {
    const { url, size, signal, registry, thing } = file;
    const action = `fetch ${redactUrl(url)}`;
    const headers = { 'accept-encoding': 'identity', ...rangeFrom(offset) };
    const response = await this.client.exchange.send({
      method: 'GET',
      url,
      headers,
      signal,
      action,
      registry,
    });
    const makeError = (): Promise<AirliftError> =>
      responseError(response, {
        action,
        thing,
        registry,
        origin: url.origin,
        scrub: (text) => this.client.exchange.secrets.scrub(text),
      });
    return contentOf(response, size, offset, action, makeError);
  }

  /** Whether a blob exists with its full size. A `HEAD` response without a length counts as yes. */
  async exists(call: BlobCall): Promise<boolean> {
    const request = this.#call('HEAD', call, {});
    const response = await this.client.send(request);
    await discard(response);
    const isRedirected = response.url.origin !== call.endpoint.origin;
    if (response.status === 405 || response.status === 501 || (isRedirected && response.status >= 400))
      return this.#existsByGet(call);
    if (response.status === 404) return false;
    if (response.status !== 200) throw await this.client.errorFor(response, request, 'blob');
    const length = lengthOf(response);
    if (isHtml(response) && length !== call.descriptor.size)
      throw await this.client.errorFor(response, request, 'blob');
    return (
      length === undefined ||
      length === call.descriptor.size ||
      (length === 0 && headerOf(response, 'docker-content-digest') === undefined)
    );
  }

  /** Checks with `GET`, for registries without `HEAD` on blobs and for storage whose addresses are signed only for `GET`. */
  async #existsByGet(call: BlobCall): Promise<boolean> {
    const request = this.#call('GET', call, call.descriptor.size === 0 ? {} : { range: 'bytes=0-0' });
    const response = await this.client.send(request);
    if (response.status === 404) {
      await discard(response);
      return false;
    }
    if (response.status !== 200 && response.status !== 206)
      throw await this.client.errorFor(response, request, 'blob');
    const total = /\/(\d{1,15})$/.exec(headerOf(response, 'content-range') ?? '')?.[1];
    const size =
      response.status === 206 ? (total === undefined ? undefined : Number(total)) : lengthOf(response);
    abandon(response);
    return size === undefined || size === call.descriptor.size;
  }

  #call(method: 'GET' | 'HEAD', call: BlobCall, headers: Record<string, string>): Call {
    const { endpoint, descriptor, action, signal } = call;
    return {
      endpoint,
      method,
      url: addressOf(endpoint, `blobs/${descriptor.digest}`),
      headers,
      scopes: repositoryScope(endpoint.repository, 'pull'),
      action,
      signal,
    };
  }
}

/** Checks the response to a range request (RFC 9110 section 14.4). */
function checkRange(response: WireResponse, offset: number, size: number, action: string): void {
  const range = headerOf(response, 'content-range') ?? 'none';
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(range);
  const total = match?.[3] === '*' ? size : Number(match?.[3]);
  if (match !== null && Number(match[1]) === offset && Number(match[2]) === size - 1 && total === size)
    return;
  abandon(response);
  if (match !== null && total !== size)
    throw new AirliftError(
      'size-mismatch',
      `${action}: wrong size in Content-Range; got ${total} bytes, want ${size}`,
    );
  throw new AirliftError(
    'unsupported',
    `${action}: the registry sent another range; got ${range.slice(0, 80)}, want bytes ${offset}-${size - 1}/${size}`,
  );
}

import { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { discard, isHtml, refusal } from '../http/answers.js';
import type { Call, RegistryClient } from './client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { repositoryScope } from '../auth/scope.js';
import { redactUrl } from '../http/trace.js';
import { headerOf, lengthOf } from '../http/headers.js';
import type { WireAnswer } from '../http/wire.js';

export interface BlobCall {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

function giveUp(answer: WireAnswer): void {
  answer.body.on('error', () => undefined).destroy();
}

/** Asks for all from `offset` on (`Range`, RFC 9110 section 14.2). */
function rangeOf(offset: number): Record<string, string> {
  return offset === 0 ? {} : { range: `bytes=${offset}-` };
}

/**
 * The body of an answer, where it is the rest of a blob from `offset` on: 206 or 416 (RFC 9110 sections 15.3.7 and 15.5.17) where a
 * part was asked for, and in no coding (`Content-Encoding`, section 8.4).
 * @throws AirliftError as `Blobs.fetch`
 */
async function contentOf(
  answer: WireAnswer,
  size: number,
  offset: number,
  doing: string,
  refuse: () => Promise<AirliftError>,
): Promise<Readable> {
  if (offset > 0 && (answer.status === 200 || answer.status === 416)) {
    giveUp(answer);
    throw new AirliftError('unsupported', `${doing}: the registry can't begin at byte ${offset}`, {
      status: answer.status,
    });
  }
  if (answer.status !== (offset === 0 ? 200 : 206)) throw await refuse();
  if (offset > 0) checkRange(answer, offset, size, doing);
  const length = lengthOf(answer);
  const encoding = headerOf(answer, 'content-encoding') ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    giveUp(answer);
    throw new AirliftError(
      'registry',
      `${doing}: the answer is encoded; got ${encoding.slice(0, 40)}, want identity`,
    );
  }
  if (length !== undefined && length !== size - offset) {
    giveUp(answer);
    throw new AirliftError(
      'size-mismatch',
      `${doing}: wrong length announced; got ${length} bytes, want ${size - offset}`,
    );
  }
  return answer.body;
}

/** How many of a descriptor's `urls` are tried. */
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
   * A blob's bytes from `offset` on, as they come. They are not checked here.
   * @throws AirliftError `not-found`; `size-mismatch` where the registry announces another length than the descriptor;
   *   `unsupported` where it can't begin at `offset`
   */
  async fetch(call: BlobCall, offset: number): Promise<Readable> {
    const { descriptor, doing } = call;
    const { size } = descriptor;
    if (offset > size || offset < 0)
      throw new AirliftError('usage', `${doing}: can't begin at byte ${offset}; want at most ${size}`);
    if (offset === size && offset > 0) return Readable.from([], { objectMode: false });
    const request = this.#call('GET', call, rangeOf(offset));
    const answer = await this.client.send(request);
    return contentOf(answer, size, offset, doing, () => this.client.refusal(answer, request, 'blob'));
  }

  /**
   * A blob from where its descriptor says (image-spec, descriptor.md, `urls`), as foreign layers are. No authorization is sent,
   * and none that the address may hold.
   * @throws AirliftError what the last of the addresses gave, `not-found` where there is none to try
   */
  async fetchForeign(
    call: Omit<BlobCall, 'endpoint'> & { registry: string },
    offset: number,
  ): Promise<Readable> {
    const { descriptor, doing, signal, registry } = call;
    let last: AirliftError | undefined;
    for (const url of addressesOf(descriptor)) {
      const headers = { 'accept-encoding': 'identity', ...rangeOf(offset) };
      const fetching = `fetch ${redactUrl(url)}`;
      const request = { method: 'GET' as const, url, headers, signal, doing: fetching, registry };
      try {
        const answer = await this.client.exchange.send(request);
        const scrub = (said: string): string => this.client.exchange.secrets.scrub(said);
        const refuse = (): Promise<AirliftError> =>
          refusal(answer, { doing: fetching, thing: 'blob', registry, origin: url.origin, scrub });
        return await contentOf(answer, descriptor.size, offset, doing, refuse);
      } catch (error) {
        if (!(error instanceof AirliftError) || error.code === 'interrupted') throw error;
        last = error;
      }
    }
    throw new AirliftError(
      last?.code ?? 'not-found',
      `${doing}: not in the registry, ${last === undefined ? 'and its descriptor names no http address' : `nor where its descriptor says: ${last.message}`}`,
      {
        cause: last,
        status: last?.status,
        hint: "`foreignLayers: 'keep'` carries the image without the content of such layers",
      },
    );
  }

  /** Whether a blob is there, in full. A `HEAD` answer without length is believed. */
  async exists(call: BlobCall): Promise<boolean> {
    const request = this.#call('HEAD', call, {});
    const answer = await this.client.send(request);
    await discard(answer);
    const isElsewhere = answer.url.origin !== call.endpoint.origin;
    if (answer.status === 405 || answer.status === 501 || (isElsewhere && answer.status >= 400))
      return this.#existsByGet(call);
    if (answer.status === 404) return false;
    if (answer.status !== 200) throw await this.client.refusal(answer, request, 'blob');
    const length = lengthOf(answer);
    if (isHtml(answer) && length !== call.descriptor.size)
      throw await this.client.refusal(answer, request, 'blob');
    return (
      length === undefined ||
      length === call.descriptor.size ||
      (length === 0 && headerOf(answer, 'docker-content-digest') === undefined)
    );
  }

  /** For registries without `HEAD` on blobs, and storage whose addresses are signed for `GET` only. */
  async #existsByGet(call: BlobCall): Promise<boolean> {
    const request = this.#call('GET', call, call.descriptor.size === 0 ? {} : { range: 'bytes=0-0' });
    const answer = await this.client.send(request);
    if (answer.status === 404) {
      await discard(answer);
      return false;
    }
    if (answer.status !== 200 && answer.status !== 206)
      throw await this.client.refusal(answer, request, 'blob');
    const total = /\/(\d{1,15})$/.exec(headerOf(answer, 'content-range') ?? '')?.[1];
    const size = answer.status === 206 ? (total === undefined ? undefined : Number(total)) : lengthOf(answer);
    giveUp(answer);
    return size === undefined || size === call.descriptor.size;
  }

  #call(method: 'GET' | 'HEAD', call: BlobCall, headers: Record<string, string>): Call {
    const { endpoint, descriptor, doing, signal } = call;
    return {
      endpoint,
      method,
      url: addressOf(endpoint, `blobs/${descriptor.digest}`),
      headers,
      scopes: repositoryScope(endpoint.repository, 'pull'),
      doing,
      signal,
    };
  }
}

/** Checks the answer to a range request (RFC 9110 section 14.4). */
function checkRange(answer: WireAnswer, offset: number, size: number, doing: string): void {
  const range = headerOf(answer, 'content-range') ?? 'none';
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(range);
  const total = match?.[3] === '*' ? size : Number(match?.[3]);
  if (match !== null && Number(match[1]) === offset && Number(match[2]) === size - 1 && total === size)
    return;
  giveUp(answer);
  if (match !== null && total !== size)
    throw new AirliftError(
      'size-mismatch',
      `${doing}: wrong length announced; got ${total} bytes, want ${size}`,
    );
  throw new AirliftError(
    'unsupported',
    `${doing}: the registry gave another range; got ${range.slice(0, 80)}, want bytes ${offset}-${size - 1}/${size}`,
  );
}

import type { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { htmlHint, isHtmlText, parseJson } from '../../oci/json.js';
import { oneLine } from '../../oci/printable.js';
import { headerOf, lengthOf, type HasHeaders } from './headers.js';
import type { WireResponse } from './wire.js';

const maxErrorSize = 64 * 1024;
/** The largest body to read to its end only to keep the connection: reading more costs more than a new connection. */
const maxDiscarded = 256 * 1024;

/**
 * Reads a whole body into memory.
 * @throws AirliftError `registry` if it is larger than `limit` bytes; the error of the stream
 */
export async function readBody(body: Readable, limit: number, action: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > limit) {
      body.destroy();
      throw new AirliftError(
        'registry',
        `${action}: response is too large; got more than ${limit} bytes, want at most ${limit}`,
      );
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

/** Discards a response's body. A short body is read to its end, so that the connection can be reused. */
export async function discard(response: WireResponse): Promise<void> {
  const { body } = response;
  body.on('error', () => undefined);
  if ((lengthOf(response) ?? 0) > maxDiscarded) {
    body.destroy();
    return;
  }
  try {
    await readBody(body, maxDiscarded, '');
  } catch {
    body.destroy();
  }
}

/** Aborts a response whose body is not wanted. */
export function abandon(response: WireResponse): void {
  response.body.on('error', () => undefined).destroy();
}

/** Whether a later request may succeed after a response with this status (408, 5xx: RFC 9110 section 15; 429: RFC 6585). */
export function isTransient(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** Whether a response is a web page. */
export function isHtml(response: HasHeaders): boolean {
  return /^text\/html\b/i.test(headerOf(response, 'content-type') ?? '');
}

interface RegistryFault {
  readonly code: string;
  readonly message: string;
}

/** Registry messages, in lower case, that only repeat the error code. Errors of airlift leave them out. */
const redundantMessages: ReadonlySet<string> = new Set([
  'manifest unknown',
  'blob unknown to registry',
  'repository name not known to registry',
  'authentication required',
  'requested access to the resource is denied',
]);

/** The most characters of a registry's message to repeat in an error. */
const maxMessage = 300;

/** Parses the first error of a body (distribution-spec, "Error Codes"; the OAuth2 form: RFC 6749 section 5.2). */
function parseFault(bytes: Uint8Array): RegistryFault | undefined {
  let json: unknown;
  try {
    json = parseJson(bytes, 'error');
  } catch {
    return undefined;
  }
  if (!isObject(json)) return undefined;
  const first: unknown = Array.isArray(json['errors']) ? json['errors'][0] : undefined;
  const text = (value: unknown): string => (typeof value === 'string' ? oneLine(value, maxMessage) : '');
  if (isObject(first)) return { code: text(first['code']), message: text(first['message']) };
  if (typeof json['error'] === 'string')
    return { code: text(json['error']), message: text(json['error_description']) };
  const message = text(json['message'] ?? json['details']);
  return message === '' ? undefined : { code: '', message };
}

export interface ErrorContext {
  /** The attempted action, such as `resolve ghcr.io/acme/api:2.1`. */
  readonly action: string;
  /** The requested thing, for "not found": `manifest`, `blob`, … */
  readonly thing: string;
  /** The registry as references name it, for hints. */
  readonly registry: string;
  /** The origin that the request was first sent to. */
  readonly origin: string;
  /** Hides secrets that the registry may repeat. */
  scrub(text: string): string;
}

function describeStatus(
  status: number,
  thing: string,
  fault: RegistryFault | undefined,
): [AirliftError['code'], string] {
  if (status === 401) return ['unauthorized', 'unauthorized'];
  if (status === 403) return ['denied', 'denied'];
  if (status === 404 || status === 410)
    return ['not-found', `${fault?.code === 'NAME_UNKNOWN' ? 'repository' : thing} not found`];
  if (status === 429) return ['rate-limited', 'too many requests'];
  if (status === 413) return ['registry', `${thing} is too large for the registry or a proxy in front of it`];
  if (status === 405) return ['registry', 'method not allowed by the registry'];
  if (status >= 500) return ['registry', 'the registry failed'];
  if (status >= 300 && status < 400) return ['registry', 'redirect without a usable location'];
  return ['registry', status < 300 ? 'unexpected response' : 'the registry rejected the request'];
}

function loginHint(response: WireResponse, context: ErrorContext): string {
  const { origin, registry } = context;
  if (response.url.origin !== origin) {
    const where = `the request was redirected to ${response.url.origin}, and credentials are not sent to another host`;
    const isSameHostWithTls =
      response.url.protocol === 'https:' && response.url.hostname === new URL(origin).hostname;
    return isSameHostWithTls && origin.startsWith('http:') ? `${where}: pass \`plainHttp: false\`` : where;
  }
  return registry === 'docker.io'
    ? 'check the name, which may not exist on Docker Hub; for a private repository: airlift login docker.io'
    : `airlift login ${registry}`;
}

function hintFor(
  response: WireResponse,
  context: ErrorContext,
  html: boolean,
  page: string,
): string | undefined {
  const { status } = response;
  if (/HTTP request (?:was sent )?to (?:an )?HTTPS/i.test(page))
    return 'the registry requires TLS: pass `plainHttp: false`';
  if (status === 413)
    return 'pass a smaller `chunkSize`, or raise the body limit of the proxy in front of the registry (nginx: client_max_body_size 0)';
  if (html && status !== 401 && status < 500) return htmlHint;
  if (status === 401) return loginHint(response, context);
  if (status === 429)
    return `run the same command again later; some registries allow more requests after airlift login ${context.registry}`;
  if (status === 403)
    return `the account lacks this permission; to use another account: airlift login ${context.registry}`;
  return undefined;
}

/** Makes the error for an unsuccessful response, with the registry's own error code if the body names one. */
export async function responseError(response: WireResponse, context: ErrorContext): Promise<AirliftError> {
  let bytes: Buffer = Buffer.alloc(0);
  try {
    bytes = await readBody(response.body, maxErrorSize, context.action);
  } catch {
    response.body.destroy();
  }
  const { status } = response;
  const fault = parseFault(bytes);
  const page = bytes.subarray(0, 1000).toString('utf8');
  const html = isHtml(response) || isHtmlText(page);
  const [code, happened] = describeStatus(status, context.thing, fault);
  const ownCode =
    fault === undefined || fault.code === '' || fault.code.toLowerCase() === happened ? '' : ` ${fault.code}`;
  const message =
    fault === undefined || fault.message === '' || redundantMessages.has(fault.message.toLowerCase())
      ? ''
      : `: ${fault.message}`;
  const pageNote = html ? ', with an HTML page' : '';
  return new AirliftError(
    code,
    context.scrub(`${context.action}: ${happened} (${status}${ownCode}${pageNote})${message}`),
    { status, reason: fault?.code, hint: hintFor(response, context, html, page) },
  );
}

import type { Readable } from 'node:stream';
import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import { oneLine } from '../../oci/printable.js';
import { headerOf, lengthOf, type HasHeaders } from './headers.js';
import type { WireAnswer } from './wire.js';

const maxErrorSize = 64 * 1024;
const cheapToRead = 256 * 1024;

/**
 * Reads a body that must be small.
 * @throws AirliftError `registry` where it is larger than `limit` bytes; what the stream throws
 */
export async function readBody(body: Readable, limit: number, doing: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > limit) {
      body.destroy();
      throw new AirliftError(
        'registry',
        `${doing}: answer is too large; got more than ${limit} bytes, want at most ${limit}`,
      );
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

/** Gives up an answer's body. A short one is read to its end, so that the connection can be used again. */
export async function discard(answer: WireAnswer): Promise<void> {
  const { body } = answer;
  body.on('error', () => undefined);
  if ((lengthOf(answer) ?? 0) > cheapToRead) {
    body.destroy();
    return;
  }
  try {
    await readBody(body, cheapToRead, '');
  } catch {
    body.destroy();
  }
}

interface RegistryFault {
  readonly code: string;
  readonly message: string;
}

/** What registries say by default, which says no more than the code does. */
const plainMessages: ReadonlySet<string> = new Set([
  'manifest unknown',
  'blob unknown to registry',
  'repository name not known to registry',
  'authentication required',
  'requested access to the resource is denied',
]);

/** The most characters of a registry's own words that an error repeats. */
const maxWords = 300;

/** The first error of an answer's body (distribution-spec, "Error Codes"), or of the OAuth2 form (RFC 6749 section 5.2). */
export function parseFault(bytes: Uint8Array): RegistryFault | undefined {
  let json: unknown;
  try {
    json = parseJson(bytes, 'error');
  } catch {
    return undefined;
  }
  if (!isObject(json)) return undefined;
  const first: unknown = Array.isArray(json['errors']) ? json['errors'][0] : undefined;
  const text = (value: unknown): string => (typeof value === 'string' ? oneLine(value, maxWords) : '');
  if (isObject(first)) return { code: text(first['code']), message: text(first['message']) };
  if (typeof json['error'] === 'string')
    return { code: text(json['error']), message: text(json['error_description']) };
  return text(json['message'] ?? json['details']) === ''
    ? undefined
    : { code: '', message: text(json['message'] ?? json['details']) };
}

/** Whether an answer is a web page. */
export function isHtml(answer: HasHeaders): boolean {
  return /^text\/html\b/i.test(headerOf(answer, 'content-type') ?? '');
}

const proxyHint =
  'something between here and the registry answered in its place: a proxy, a login page, or not a registry';

export interface RefusalContext {
  /** What was attempted, e.g. `resolve ghcr.io/acme/api:2.1`. */
  readonly doing: string;
  /** What would not be found: `manifest`, `blob`, … */
  readonly thing: string;
  /** The registry as references name it, for hints. */
  readonly registry: string;
  /** Where the request was first sent to. */
  readonly origin: string;
  /** Hides secrets that the registry may repeat. */
  scrub(text: string): string;
}

function words(
  status: number,
  thing: string,
  fault: RegistryFault | undefined,
): [AirliftError['code'], string] {
  if (status === 401) return ['unauthorized', 'unauthorized'];
  if (status === 403) return ['denied', 'denied'];
  if (status === 404 || status === 410)
    return ['not-found', `${fault?.code === 'NAME_UNKNOWN' ? 'repository' : thing} not found`];
  if (status === 429) return ['rate-limited', 'the registry asks to slow down'];
  if (status === 413) return ['registry', `${thing} is too large for the registry or a proxy in front of it`];
  if (status === 405) return ['registry', 'the registry does not allow this'];
  if (status >= 500) return ['registry', 'the registry failed'];
  if (status >= 300 && status < 400) return ['registry', 'the registry redirects to nowhere'];
  return ['registry', status < 300 ? 'unexpected answer' : 'the registry refused'];
}

function loginHint(answer: WireAnswer, context: RefusalContext): string {
  const { origin, registry } = context;
  if (answer.url.origin !== origin) {
    const where = `it leads to ${answer.url.origin}, and credentials are not sent to another host`;
    const isSameInTls = answer.url.protocol === 'https:' && answer.url.hostname === new URL(origin).hostname;
    return isSameInTls && origin.startsWith('http:') ? `${where}: pass \`plainHttp: false\`` : where;
  }
  return registry === 'docker.io'
    ? 'check the name, which Docker Hub may not have; for a private repository: airlift login docker.io'
    : `airlift login ${registry}`;
}

function hintFor(
  answer: WireAnswer,
  context: RefusalContext,
  html: boolean,
  page: string,
): string | undefined {
  const { status } = answer;
  if (/HTTP request (?:was sent )?to (?:an )?HTTPS/i.test(page))
    return 'it speaks TLS: pass `plainHttp: false`';
  if (status === 413)
    return 'pass a smaller `chunkSize`, or raise the body limit of the proxy in front of it (nginx: client_max_body_size 0)';
  if (html && status !== 401 && status < 500) return proxyHint;
  if (status === 401) return loginHint(answer, context);
  if (status === 429)
    return `run the same command again later; some registries allow more to accounts: airlift login ${context.registry}`;
  if (status === 403)
    return `the account lacks this right; for another one: airlift login ${context.registry}`;
  return undefined;
}

/** Makes the error for an answer that is not what was asked for, with the registry's own error code where it names one. */
export async function refusal(answer: WireAnswer, context: RefusalContext): Promise<AirliftError> {
  let bytes: Buffer = Buffer.alloc(0);
  try {
    bytes = await readBody(answer.body, maxErrorSize, context.doing);
  } catch {
    answer.body.destroy();
  }
  const { status } = answer;
  const fault = parseFault(bytes);
  const page = bytes.subarray(0, 1000).toString('utf8');
  const html = isHtml(answer) || /^\s*<(?:!doctype|html)/i.test(page);
  const [code, happened] = words(status, context.thing, fault);
  const ownCode =
    fault === undefined || fault.code === '' || fault.code.toLowerCase() === happened ? '' : ` ${fault.code}`;
  const message =
    fault === undefined || fault.message === '' || plainMessages.has(fault.message.toLowerCase())
      ? ''
      : `: ${fault.message}`;
  const pageNote = html ? ', with an HTML page' : '';
  return new AirliftError(
    code,
    context.scrub(`${context.doing}: ${happened} (${status}${ownCode}${pageNote})${message}`),
    { status, reason: fault?.code, hint: hintFor(answer, context, html, page) },
  );
}

/** Whether a registry that answers with `status` may answer better a moment later (408, 5xx: RFC 9110 section 15; 429: RFC 6585). */
export function isPassing(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

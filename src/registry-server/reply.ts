import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** A body that is sent in pieces. Either method closes the content that it is read from. */
export interface StreamedBody {
  /**
   * Sends the body and ends the response. Fails before the body is complete, or if the client goes away.
   * @param sent counts the bytes that were sent
   */
  sendTo(response: ServerResponse, sent: { bytes: number }): Promise<void>;
  /** Closes the body unsent. */
  close(): Promise<void>;
}

/** The answer to a request. */
export interface Reply {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders | undefined;
  /** With a body that is sent in pieces, the headers must contain `Content-Length`. */
  readonly body?: Uint8Array | StreamedBody | undefined;
}

/** The error codes of the distribution-spec, "Error Codes". */
export type RefusalCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'PAGINATION_NUMBER_INVALID'
  | 'SIZE_INVALID'
  | 'UNAUTHORIZED'
  | 'UNKNOWN'
  | 'UNSUPPORTED';

/** Builds a reply with a JSON body. */
export function json(
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
  mediaType = 'application/json',
): Reply {
  return {
    status,
    headers: { ...headers, 'Content-Type': mediaType },
    body: Buffer.from(JSON.stringify(value)),
  };
}

/** Builds an error reply in the form of the distribution-spec, "Error Codes". */
export function refuse(
  status: number,
  code: RefusalCode,
  message: string,
  headers: OutgoingHttpHeaders = {},
): Reply {
  return json(status, { errors: [{ code, message }] }, headers);
}

/** Headers of every reply. */
const common = { 'Docker-Distribution-API-Version': 'registry/2.0' };

/** Statuses whose replies have neither a body nor a `Content-Length`. */
const bodiless: ReadonlySet<number> = new Set([204, 304]);

/**
 * Sends a reply.
 * @param head send the headers only
 * @param sent counts the bytes of the body, also where sending fails
 */
export async function send(
  response: ServerResponse,
  reply: Reply,
  head: boolean,
  sent: { bytes: number },
): Promise<void> {
  const { status, headers = {}, body } = reply;
  if (body !== undefined && !(body instanceof Uint8Array)) {
    if (head || response.destroyed) await body.close();
    if (response.destroyed) return;
    response.writeHead(status, { ...common, ...headers });
    if (!head) return await body.sendTo(response, sent);
  } else {
    if (response.destroyed) return;
    const length = bodiless.has(status) ? {} : { 'Content-Length': body?.byteLength ?? 0 };
    response.writeHead(status, { ...common, ...length, ...headers });
  }
  const bytes = head || !(body instanceof Uint8Array) ? undefined : body;
  await new Promise<void>((done) => {
    // Comes after the end as well as when the client goes away.
    response.once('close', done);
    response.end(bytes);
  });
  sent.bytes += bytes?.byteLength ?? 0;
}

import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** What a request is answered with. */
export interface Reply {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders | undefined;
  /** A stream needs a `Content-Length` among the headers. */
  readonly body?: Uint8Array | Readable | undefined;
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
  | 'UNKNOWN'
  | 'UNSUPPORTED';

/** A reply that carries JSON. */
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

/** A reply that says no, in the form of the distribution-spec, "Error Codes". */
export function refuse(
  status: number,
  code: RefusalCode,
  message: string,
  headers: OutgoingHttpHeaders = {},
): Reply {
  return json(status, { errors: [{ code, message }] }, headers);
}

/** Answers that have no body and say no length. */
const bodiless: ReadonlySet<number> = new Set([204, 304]);

/** Sends a reply, without its body where `head` says that only the headers are wanted. Gives the bytes of body sent. */
export async function send(response: ServerResponse, reply: Reply, head: boolean): Promise<number> {
  const { status, headers = {}, body } = reply;
  if (response.destroyed) {
    if (body instanceof Readable) body.destroy();
    return 0;
  }
  if (body instanceof Readable) {
    response.writeHead(status, headers);
    if (!head) {
      let sent = 0;
      body.on('data', (chunk: Buffer) => (sent += chunk.length));
      await pipeline(body, response);
      // The client would wait for the rest of content that was cut under it.
      if (sent < Number(headers['Content-Length'])) response.destroy();
      return sent;
    }
    body.destroy();
  } else {
    const length = bodiless.has(status) ? {} : { 'Content-Length': body?.byteLength ?? 0 };
    response.writeHead(status, { ...length, ...headers });
  }
  const bytes = head || body instanceof Readable ? undefined : body;
  await new Promise<void>((done) => {
    response.once('close', done);
    response.end(bytes, done);
  });
  return bytes?.byteLength ?? 0;
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ServerOptions } from 'node:https';
import type { Cleanup } from '../support/temp.js';

/** The parts of a request that tests check. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface OddServer {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Every request so far. */
  readonly seen: Seen[];
}

export type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => void;

/** An HTTP server on loopback with the responses of a test; it is closed with the test. */
export async function startOddServer(t: Cleanup, handler: Handler, tls?: ServerOptions): Promise<OddServer> {
  const seen: Seen[] = [];
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const { method = '', url = '', headers } = request;
    seen.push({ method, url, headers });
    // Clients may disconnect at any time.
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    handler(request, response, new URL(url, 'http://odd.test'));
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.requestTimeout = 0;
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(
    () =>
      new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  );
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

/** Sends a JSON response. */
export function sendJson(
  response: ServerResponse,
  status: number,
  json: unknown,
  type = 'application/json',
): void {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(json));
}

/** Sends an error response in the format of registries. */
export function sendFault(response: ServerResponse, status: number, code: string, message = ''): void {
  sendJson(response, status, { errors: [{ code, message }] });
}

/** Reads the whole body of a request. */
export async function readRequest(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

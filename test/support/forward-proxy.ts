/** A forward proxy: an HTTP server that accepts absolute URLs (RFC 9112 section 3.2.2) and `CONNECT` (RFC 9110 section 9.3.6). */
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { KeyPair } from './certificates.js';
import type { Cleanup } from './temp.js';

export interface ForwardProxy {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Request lines without the protocol version. */
  readonly seen: string[];
}

export interface ForwardProxyOptions {
  /** Returns the address (`127.0.0.1:PORT`) of a host that a client names; undefined for unknown hosts. */
  readonly targetOf: (host: string) => string | undefined;
  /** Credentials that the proxy requires. */
  readonly credentials?: { readonly user: string; readonly password: string } | undefined;
  /** Certificate and key with which the proxy itself serves TLS. */
  readonly tls?: KeyPair | undefined;
}

function withoutProxyHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('proxy-')));
}

/** Starts a forward proxy on a free port of 127.0.0.1, and stops it after the test. */
export async function startForwardProxy(t: Cleanup, options: ForwardProxyOptions): Promise<ForwardProxy> {
  const { targetOf, credentials, tls } = options;
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const wanted =
    credentials === undefined
      ? undefined
      : `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`;
  const isAllowed = (headers: IncomingHttpHeaders): boolean =>
    wanted === undefined || headers['proxy-authorization'] === wanted;
  const addressOf = (host: string): { host: string; port: number } | undefined => {
    const [name, port] = targetOf(host)?.split(':') ?? [];
    return name === undefined ? undefined : { host: name, port: Number(port) };
  };

  const forward = (request: IncomingMessage, response: ServerResponse): void => {
    const { method, url: target = '', headers } = request;
    seen.push(`${method} ${target}`);
    response.on('error', () => undefined);
    const url = URL.canParse(target) ? new URL(target) : undefined;
    const address = url === undefined ? undefined : addressOf(url.host);
    if (!isAllowed(headers)) response.writeHead(407).end();
    else if (url === undefined || address === undefined) response.writeHead(502).end();
    else {
      const path = `${url.pathname}${url.search}`;
      const onward = httpRequest({ ...address, path, method, headers: withoutProxyHeaders(headers) });
      onward.once('response', (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(response);
      });
      onward.on('error', () => response.destroy());
      request.pipe(onward);
    }
  };
  const server =
    tls === undefined
      ? createServer(forward)
      : createTlsServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) }, forward);
  server.on('connect', (request, socket: Socket) => {
    seen.push(`CONNECT ${request.url}`);
    socket.on('error', () => undefined);
    const address = addressOf(request.url ?? '');
    if (!isAllowed(request.headers)) socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    else if (address === undefined) socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    else {
      const onward = connect(address.port, address.host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        onward.pipe(socket).pipe(onward);
      });
      sockets.add(onward);
      onward.on('error', () => socket.destroy());
    }
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(
    () =>
      new Promise<void>((done) => {
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
  );
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

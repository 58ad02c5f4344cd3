import { createPrivateKey, createSign, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeAuthority } from './certificates.js';

/** What a client asked the token server for. */
export interface TokenRequest {
  readonly service: string;
  readonly scopes: readonly string[];
  /** The user that it proved to be; undefined where it came without credentials. */
  readonly user: string | undefined;
}

export interface TokenOptions {
  /** Users by name with their password; they may do everything. */
  readonly users?: Readonly<Record<string, string>>;
  /** What those without credentials may do; nothing by default. */
  readonly anonymous?: readonly ('pull' | 'push' | 'delete')[];
  /** Seconds a token holds; 300 by default. */
  readonly expiresIn?: number;
}

export interface TokenServer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** The certificate that a registry checks tokens with. */
  readonly certificate: string;
  readonly requests: TokenRequest[];
  stop(): Promise<void>;
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token service for a registry, by the docs of distribution's token authentication (spec/auth/token, spec/auth/jwt). Wants openssl. */
export async function startTokenServer(dir: string, options: TokenOptions = {}): Promise<TokenServer> {
  const { cert, key } = await makeAuthority(dir, 'token');
  const privateKey = createPrivateKey(readFileSync(key));
  const x5c = [new X509Certificate(readFileSync(cert)).raw.toString('base64')];
  const service = 'registry.test';
  const issuer = 'airlift-test';
  const requests: TokenRequest[] = [];

  const access = (scopes: readonly string[], user: string | undefined): unknown[] =>
    scopes.map((scope) => {
      const [type = '', ...rest] = scope.split(':');
      const wanted = (rest.pop() ?? '').split(',');
      const allowed: readonly string[] = options.anonymous ?? [];
      const actions = user === undefined ? wanted.filter((action) => allowed.includes(action)) : wanted;
      return { type, name: rest.join(':'), actions };
    });

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    const [scheme, encoded = ''] = (request.headers.authorization ?? '').split(' ');
    const text = Buffer.from(encoded, 'base64').toString('utf8');
    const user = scheme === 'Basic' ? text.slice(0, text.indexOf(':')) : undefined;
    const scopes = url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '));
    requests.push({ service: url.searchParams.get('service') ?? '', scopes, user });
    response.setHeader('content-type', 'application/json');
    if (user !== undefined && options.users?.[user] !== text.slice(text.indexOf(':') + 1)) {
      response.writeHead(401).end('{"details":"wrong user or password"}');
      return;
    }
    const now = Math.floor(Date.now() / 1000);
    const seconds = options.expiresIn ?? 300;
    const head = base64({ typ: 'JWT', alg: 'RS256', x5c });
    const body = base64({
      ...{ iss: issuer, sub: user ?? '', aud: service, exp: now + seconds, nbf: now - 10, iat: now },
      ...{ jti: randomUUID(), access: access(scopes, user) },
    });
    const signature = createSign('RSA-SHA256').update(`${head}.${body}`).sign(privateKey, 'base64url');
    response.end(
      JSON.stringify({
        token: `${head}.${body}.${signature}`,
        expires_in: seconds,
        issued_at: new Date().toISOString(),
      }),
    );
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    service,
    issuer,
    certificate: cert,
    requests,
    stop: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

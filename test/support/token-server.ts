import { createPrivateKey, createSign, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeAuthority } from './certificates.js';

/** One request to the token server. */
export interface TokenRequest {
  readonly service: string;
  readonly scopes: readonly string[];
  /** The authenticated user; undefined without credentials. */
  readonly user: string | undefined;
  /** The token returned; undefined if the request was rejected. */
  readonly token: string | undefined;
}

export interface TokenOptions {
  /** Passwords by user name; these users may do everything. */
  readonly users?: Readonly<Record<string, string>>;
  /** User names by identity token, exchanged by POST (spec/auth/oauth); these users may do everything. */
  readonly identityTokens?: Readonly<Record<string, string>>;
  /** Actions allowed without credentials (default: none). */
  readonly anonymous?: readonly ('pull' | 'push' | 'delete')[];
  /** Seconds that a token is valid (default: 300). */
  readonly expiresIn?: number;
}

export interface TokenServer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** Path of the certificate with which a registry verifies tokens. */
  readonly certificate: string;
  readonly requests: TokenRequest[];
  stop(): Promise<void>;
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Starts a token server as documented by distribution (spec/auth/token, spec/auth/jwt). Requires openssl. */
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

  /** Returns the user of a password or identity token, `''` without credentials, undefined for wrong credentials. */
  const identify = (authorization: string | undefined, form: URLSearchParams): string | undefined => {
    if (form.get('grant_type') === 'refresh_token')
      return options.identityTokens?.[form.get('refresh_token') ?? ''];
    if (authorization === undefined) return '';
    const text = Buffer.from(authorization.replace(/^Basic /, ''), 'base64').toString('utf8');
    const user = text.slice(0, text.indexOf(':'));
    return options.users?.[user] === text.slice(text.indexOf(':') + 1) ? user : undefined;
  };

  const answer = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    const isForm = request.method === 'POST';
    const parameters = isForm
      ? new URLSearchParams(body)
      : new URL(request.url ?? '/', 'http://127.0.0.1').searchParams;
    const identity = identify(request.headers.authorization, parameters);
    const user = identity === '' ? undefined : identity;
    const scopes = parameters.getAll('scope').flatMap((scope) => scope.split(' '));
    const logged = { service: parameters.get('service') ?? '', scopes, user };
    response.setHeader('content-type', 'application/json');
    if (identity === undefined) {
      requests.push({ ...logged, token: undefined });
      response.writeHead(401).end('{"details":"wrong user or password"}');
      return;
    }
    const now = Math.floor(Date.now() / 1000);
    const seconds = options.expiresIn ?? 300;
    const head = base64({ typ: 'JWT', alg: 'RS256', x5c });
    const claims = base64({
      ...{ iss: issuer, sub: user ?? '', aud: service, exp: now + seconds, nbf: now - 10, iat: now },
      ...{ jti: randomUUID(), access: access(scopes, user) },
    });
    const signature = createSign('RSA-SHA256').update(`${head}.${claims}`).sign(privateKey, 'base64url');
    const token = `${head}.${claims}.${signature}`;
    requests.push({ ...logged, token });
    const form = {
      access_token: token,
      refresh_token: parameters.get('refresh_token'),
      scope: scopes.join(' '),
    };
    response.end(
      JSON.stringify({
        ...(isForm ? form : { token }),
        expires_in: seconds,
        issued_at: new Date().toISOString(),
      }),
    );
  };

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => answer(request, response, Buffer.concat(chunks).toString('utf8')));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  // The test file ends even if it fails before it stops the server.
  server.unref();
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

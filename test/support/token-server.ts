import { createPrivateKey, createSign, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeAuthority } from './certificates.js';

/** What a client asked the token server for. */
export interface TokenRequest {
  readonly service: string;
  readonly scopes: readonly string[];
  /** The user that it proved to be; undefined where it came without credentials. */
  readonly user: string | undefined;
  /** The token that it was given; undefined where it was refused. */
  readonly token: string | undefined;
}

export interface TokenOptions {
  /** Users by name with their password; they may do everything. */
  readonly users?: Readonly<Record<string, string>>;
  /** Users by their identity token, which is traded by POST (spec/auth/oauth); they may do everything. */
  readonly identityTokens?: Readonly<Record<string, string>>;
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

  /** Who asks: a user by password or identity token, `''` for nobody, or undefined where the proof is wrong. */
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
    const asked = isForm
      ? new URLSearchParams(body)
      : new URL(request.url ?? '/', 'http://127.0.0.1').searchParams;
    const identity = identify(request.headers.authorization, asked);
    const user = identity === '' ? undefined : identity;
    const scopes = asked.getAll('scope').flatMap((scope) => scope.split(' '));
    const seen = { service: asked.get('service') ?? '', scopes, user };
    response.setHeader('content-type', 'application/json');
    if (identity === undefined) {
      requests.push({ ...seen, token: undefined });
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
    requests.push({ ...seen, token });
    const form = { access_token: token, refresh_token: asked.get('refresh_token'), scope: scopes.join(' ') };
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
  // A test file that fails before it can stop the server still ends.
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

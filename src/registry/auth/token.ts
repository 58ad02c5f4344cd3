import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import { readBody, refusal } from '../http/answers.js';
import { basicAuthorization } from './basic.js';
import type { Challenge } from './challenge.js';
import type { Credentials } from './credential.js';
import { isLoopback, type Endpoint } from '../config/endpoint.js';
import type { Exchange } from '../http/exchange.js';
import { formatScopes, type Scopes } from './scope.js';
import { headerOf, type WireAnswer } from '../http/wire.js';

/** Where tokens come from, as a Bearer challenge names it. */
export interface TokenService {
  readonly realm: URL;
  readonly service: string | undefined;
}

export interface Token {
  readonly text: string;
  /** Milliseconds of the epoch after which it is not used any more. */
  readonly expires: number;
  /** A new refresh token, where the service changed it. */
  readonly refreshToken: string | undefined;
}

const maxAnswer = 1024 * 1024;
const clientId = 'airlift';
/** What a token is good for where the service does not say (distribution's token specification). */
const defaultLifetime = 60;

/**
 * The token service that a Bearer challenge names.
 * @throws AirliftError `registry` where its address is missing, invalid, or gives up TLS
 */
export function tokenServiceOf(challenge: Challenge, endpoint: Endpoint, doing: string): TokenService {
  const { realm = '', service } = challenge.parameters;
  if (!URL.canParse(realm))
    throw new AirliftError('registry', `${doing}: the registry asks for a token but does not say from where`);
  const url = new URL(realm);
  const isSafe = url.protocol === 'https:' || isLoopback(url.host) || endpoint.origin.startsWith('http:');
  if ((url.protocol !== 'https:' && url.protocol !== 'http:') || !isSafe)
    throw new AirliftError(
      'registry',
      `${doing}: the registry asks for a token from ${url.protocol}//${url.host}, which is not over TLS`,
    );
  url.username = '';
  url.password = '';
  return { realm: url, service };
}

function lifetimeOf(json: Record<string, unknown>, answer: WireAnswer, now: number): number {
  const told = json['expires_in'];
  const lifetime = (typeof told === 'number' && told > 0 ? Math.min(told, 86_400) : defaultLifetime) * 1000;
  const issued = typeof json['issued_at'] === 'string' ? Date.parse(json['issued_at']) : NaN;
  // Measured by the service's own clock, so that a wrong clock here or there does no harm.
  const there = Date.parse(headerOf(answer, 'date') ?? '');
  const age =
    Number.isNaN(issued) || Number.isNaN(there) ? 0 : Math.min(Math.max(there - issued, 0), lifetime);
  const left = lifetime - age;
  return now + left - Math.min(10_000, left / 10);
}

async function parseToken(answer: WireAnswer, doing: string): Promise<Token> {
  const bytes = await readBody(answer.body, maxAnswer, doing);
  let json: unknown;
  try {
    json = parseJson(bytes, 'token');
  } catch {
    // Said below. The parser's own message would quote what may be a token.
  }
  if (!isObject(json)) throw new AirliftError('registry', `${doing}: the answer is not a JSON object`);
  const { token, access_token: accessToken, refresh_token: refreshToken } = json;
  const text = [token, accessToken].find((value) => typeof value === 'string' && value !== '');
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text))
    throw new AirliftError('registry', `${doing}: the answer holds no token`);
  return {
    text,
    expires: lifetimeOf(json, answer, Date.now()),
    refreshToken: typeof refreshToken === 'string' && refreshToken !== '' ? refreshToken : undefined,
  };
}

export interface TokenRequest {
  readonly exchange: Exchange;
  readonly service: TokenService;
  readonly scopes: Scopes;
  readonly credentials: Credentials | undefined;
  readonly endpoint: Endpoint;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Gets a token (distribution, "Token Authentication Specification"; with an identity token by the OAuth2 form, "OAuth2 Token
 * Authentication", RFC 6749 section 6).
 * @throws AirliftError `unauthorized`, `denied`, `registry`, `rate-limited`, `network`, `tls`
 */
export async function requestToken(request: TokenRequest): Promise<Token> {
  const { exchange, service, credentials, endpoint, signal } = request;
  const doing = `${request.doing}: get a token from ${service.realm.host}`;
  const scopes = formatScopes(request.scopes);
  const shared = { registry: endpoint.registry, doing, signal, whole: maxAnswer };
  const url = new URL(service.realm);
  let answer: WireAnswer;
  if (credentials?.kind === 'identity-token') {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: clientId });
    if (service.service !== undefined) form.set('service', service.service);
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    form.set('refresh_token', credentials.token);
    const headers = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
    answer = await exchange.send({
      ...shared,
      method: 'POST',
      url,
      headers,
      body: Buffer.from(form.toString()),
    });
  } else {
    if (service.service !== undefined) url.searchParams.set('service', service.service);
    for (const scope of scopes) url.searchParams.append('scope', scope);
    const authorization =
      credentials === undefined ? undefined : basicAuthorization(credentials.username, credentials.password);
    answer = await exchange.send({
      ...shared,
      method: 'GET',
      url,
      headers: { accept: 'application/json' },
      authorization,
    });
  }
  if (answer.status === 200) return parseToken(answer, doing);
  const scrub = (text: string): string => exchange.secrets.scrub(text);
  const { origin } = service.realm;
  throw await refusal(answer, {
    doing,
    thing: 'token service',
    registry: endpoint.credentialsName,
    origin,
    scrub,
  });
}

import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { verdictOf } from '../../oci/guess.js';
import { parseJson } from '../../oci/json.js';
import { untilAborted } from '../../oci/pause.js';
import { isLoopback } from '../../oci/reference.js';
import type { Endpoint } from '../config/endpoint.js';
import type { Credentials } from '../config/options.js';
import type { Exchange } from '../http/exchange.js';
import { basicAuthorization, headerOf, type Challenge } from '../http/headers.js';
import { readBody, responseError } from '../http/responses.js';
import type { WireResponse } from '../http/wire.js';
import type { CredentialStore } from './credentials.js';
import { covers, formatScopes, mergeScopes, parseScopes, type Scopes } from './scope.js';

/** A request that needs an authorization. */
export interface AuthorizationRequest {
  readonly endpoint: Endpoint;
  readonly scopes: Scopes;
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
}

interface CachedToken {
  readonly scopes: Scopes;
  readonly identity: string;
  readonly token: Token;
}

/** How a host authenticates, as far as it is known. */
interface HostState {
  service: TokenService | undefined;
  isBasic: boolean;
  readonly tokens: CachedToken[];
  /** Scopes that the host demanded in a challenge, by the scopes of the request. */
  readonly demandedScopes: Map<string, Scopes>;
  readonly pendingTokens: Map<string, Promise<string>>;
}

const maxCached = 1000;

function keyOf(scopes: Scopes): string {
  return formatScopes(scopes).join(' ');
}

function identityOf(credentials: Credentials | undefined): string {
  if (credentials === undefined) return '';
  return credentials.kind === 'password' ? `password:${credentials.username}` : 'identity-token';
}

/**
 * Provides the `Authorization` of requests (RFC 9110 section 11.6.2): Basic (RFC 7617), or Bearer tokens (RFC 6750 section 2.1), which are
 * cached by host and scope until they expire.
 */
export class Authenticator {
  readonly #hosts = new Map<string, HostState>();
  readonly #refreshTokens = new Map<string, string>();

  constructor(
    readonly exchange: Exchange,
    readonly store: CredentialStore,
  ) {}

  /** Returns the authorization to send with the first attempt; undefined until the host has asked for one. */
  async authorize(request: AuthorizationRequest): Promise<string | undefined> {
    const state = this.#stateOf(request.endpoint);
    if (state.service === undefined && !state.isBasic) return undefined;
    const credentials = await this.#credentialsFor(request.endpoint);
    if (state.service !== undefined) return this.#bearer(state, state.service, request, credentials);
    return this.#basic(credentials);
  }

  /**
   * Responds to the challenges of a host; Bearer takes precedence over Basic.
   * @param rejected the authorization that the host did not accept
   * @returns the authorization to retry with, or undefined if there is none
   * @throws AirliftError if the token service issues no token
   */
  async answerChallenge(
    request: AuthorizationRequest,
    challenges: readonly Challenge[],
    rejected: string | undefined,
  ): Promise<string | undefined> {
    const state = this.#stateOf(request.endpoint);
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer');
    const credentials = await this.#credentialsFor(request.endpoint);
    if (bearer !== undefined) {
      this.#dropToken(state, rejected);
      state.service = tokenServiceOf(bearer, request.endpoint, request.action);
      if (state.demandedScopes.size >= maxCached) state.demandedScopes.clear();
      state.demandedScopes.set(keyOf(request.scopes), parseScopes(bearer.parameters['scope'] ?? ''));
      return this.#bearer(state, state.service, request, credentials);
    }
    if (!challenges.some((challenge) => challenge.scheme === 'basic')) return undefined;
    state.isBasic = true;
    const authorization = this.#basic(credentials);
    return authorization === rejected ? undefined : authorization;
  }

  #stateOf(endpoint: Endpoint): HostState {
    let state = this.#hosts.get(endpoint.origin);
    if (state === undefined) {
      state = {
        service: undefined,
        isBasic: false,
        tokens: [],
        demandedScopes: new Map(),
        pendingTokens: new Map(),
      };
      this.#hosts.set(endpoint.origin, state);
    }
    return state;
  }

  async #credentialsFor(endpoint: Endpoint): Promise<Credentials | undefined> {
    const found = await this.store.find(endpoint.credentialsName, endpoint.repository);
    const { secrets } = this.exchange;
    if (found?.kind === 'password') {
      secrets.add(found.password);
      secrets.add(basicAuthorization(found.username, found.password).slice('Basic '.length));
    } else if (found !== undefined) secrets.add(found.token);
    return found;
  }

  #basic(credentials: Credentials | undefined): string | undefined {
    if (credentials?.kind !== 'password') return undefined;
    return basicAuthorization(credentials.username, credentials.password);
  }

  #dropToken(state: HostState, rejected: string | undefined): void {
    const at = state.tokens.findIndex(({ token }) => `Bearer ${token.text}` === rejected);
    if (at >= 0) state.tokens.splice(at, 1);
  }

  /** Returns a token that covers the request: a cached one, one that is being fetched, or a new one. */
  async #bearer(
    state: HostState,
    service: TokenService,
    request: AuthorizationRequest,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const identity = identityOf(credentials);
    const now = Date.now();
    for (let at = state.tokens.length - 1; at >= 0; at--)
      if ((state.tokens[at]?.token.expires ?? 0) <= now) state.tokens.splice(at, 1);
    const own = state.tokens.filter((cached) => cached.identity === identity);
    const match = own.find((cached) => covers(cached.scopes, request.scopes));
    if (match !== undefined) return `Bearer ${match.token.text}`;
    // Scopes granted earlier for the same repository are requested again, so that one token covers all requests to it.
    const earlier = own.filter((cached) =>
      [...cached.scopes.keys()].some((resource) => request.scopes.has(resource)),
    );
    const demanded = state.demandedScopes.get(keyOf(request.scopes)) ?? new Map();
    const wide = mergeScopes(request.scopes, demanded, ...earlier.map((cached) => cached.scopes));
    const narrow = mergeScopes(request.scopes, demanded);
    const key = [identity, service.realm.href, keyOf(wide)].join(' ');
    let pending = state.pendingTokens.get(key);
    if (pending === undefined) {
      const fetch = (scopes: Scopes): Promise<string> =>
        this.#fetchToken(state, service, { ...request, scopes, signal: undefined }, credentials);
      pending = fetch(wide)
        .catch((error: unknown) => {
          // A service may reject scopes for several repositories together although it grants each of them.
          if (keyOf(wide) === keyOf(narrow) || verdictOf(error) !== 'absent') throw error;
          return fetch(narrow);
        })
        .finally(() => state.pendingTokens.delete(key));
      state.pendingTokens.set(key, pending);
    }
    return untilAborted(pending, request.action, request.signal);
  }

  async #fetchToken(
    state: HostState,
    service: TokenService,
    request: AuthorizationRequest,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const { exchange } = this;
    const { endpoint, scopes, action, signal } = request;
    const refreshed =
      credentials?.kind === 'identity-token' ? this.#refreshTokens.get(credentials.token) : undefined;
    const token = await requestToken({
      exchange,
      service,
      scopes,
      credentials: refreshed === undefined ? credentials : { kind: 'identity-token', token: refreshed },
      endpoint,
      action,
      signal,
    });
    exchange.secrets.addToken(token.text);
    if (token.refreshToken !== undefined) {
      exchange.secrets.addToken(token.refreshToken);
      if (credentials?.kind === 'identity-token')
        this.#refreshTokens.set(credentials.token, token.refreshToken);
    }
    if (state.tokens.length >= maxCached) state.tokens.shift();
    state.tokens.push({ scopes, identity: identityOf(credentials), token });
    return `Bearer ${token.text}`;
  }
}

/** The token service named by a Bearer challenge. */
interface TokenService {
  readonly realm: URL;
  readonly service: string | undefined;
}

interface Token {
  readonly text: string;
  /** Time after which the token is not used any more, in milliseconds of the epoch. */
  readonly expires: number;
  /** A new refresh token, if the service issued one. */
  readonly refreshToken: string | undefined;
}

const maxTokenResponse = 1024 * 1024;
const clientId = 'airlift';
/** Lifetime of a token in seconds if the service does not specify one (distribution's token specification). */
const defaultLifetime = 60;

/**
 * Returns the token service that a Bearer challenge names.
 * @throws AirliftError `registry` if its address is missing or invalid, or does not use TLS although the registry does
 */
function tokenServiceOf(challenge: Challenge, endpoint: Endpoint, action: string): TokenService {
  const { realm = '', service } = challenge.parameters;
  if (!URL.canParse(realm))
    throw new AirliftError(
      'registry',
      `${action}: the registry requires a token but does not name a token service`,
    );
  const url = new URL(realm);
  const isSafe = url.protocol === 'https:' || isLoopback(url.host) || endpoint.origin.startsWith('http:');
  if ((url.protocol !== 'https:' && url.protocol !== 'http:') || !isSafe)
    throw new AirliftError(
      'registry',
      `${action}: the registry requires a token from ${url.protocol}//${url.host}, which does not use TLS`,
    );
  url.username = '';
  url.password = '';
  return { realm: url, service };
}

function expiryOf(json: Record<string, unknown>, response: WireResponse, now: number): number {
  const seconds = json['expires_in'];
  const lifetime =
    (typeof seconds === 'number' && seconds > 0 ? Math.min(seconds, 86_400) : defaultLifetime) * 1000;
  const issued = typeof json['issued_at'] === 'string' ? Date.parse(json['issued_at']) : NaN;
  // The token's age is measured by the service's own clock: the two clocks may differ.
  const serverTime = Date.parse(headerOf(response, 'date') ?? '');
  const age =
    Number.isNaN(issued) || Number.isNaN(serverTime)
      ? 0
      : Math.min(Math.max(serverTime - issued, 0), lifetime);
  const left = lifetime - age;
  return now + left - Math.min(10_000, left / 10);
}

async function parseToken(response: WireResponse, action: string): Promise<Token> {
  const bytes = await readBody(response.body, maxTokenResponse, action);
  let json: unknown;
  try {
    json = parseJson(bytes, 'token');
  } catch {
    // Reported below: the parser's message would quote what may be a token.
  }
  if (!isObject(json)) throw new AirliftError('registry', `${action}: the response is not a JSON object`);
  const { token, access_token: accessToken, refresh_token: refreshToken } = json;
  const text = [token, accessToken].find((value) => typeof value === 'string' && value !== '');
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text))
    throw new AirliftError('registry', `${action}: the response contains no token`);
  return {
    text,
    expires: expiryOf(json, response, Date.now()),
    refreshToken: typeof refreshToken === 'string' && refreshToken !== '' ? refreshToken : undefined,
  };
}

interface TokenRequest {
  readonly exchange: Exchange;
  readonly service: TokenService;
  readonly scopes: Scopes;
  readonly credentials: Credentials | undefined;
  readonly endpoint: Endpoint;
  readonly action: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Requests a token (distribution, "Token Authentication Specification"; for an identity token the OAuth2 form, "OAuth2 Token
 * Authentication", RFC 6749 section 6).
 * @throws AirliftError `unauthorized`, `denied`, `registry`, `rate-limited`, `network`, `tls`
 */
async function requestToken(request: TokenRequest): Promise<Token> {
  const { exchange, service, credentials, endpoint, signal } = request;
  const action = `${request.action}: get a token from ${service.realm.host}`;
  const scopes = formatScopes(request.scopes);
  const shared = { registry: endpoint.registry, action, signal, whole: maxTokenResponse };
  const url = new URL(service.realm);
  let response: WireResponse;
  if (credentials?.kind === 'identity-token') {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: clientId });
    if (service.service !== undefined) form.set('service', service.service);
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    form.set('refresh_token', credentials.token);
    const headers = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
    response = await exchange.send({
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
    response = await exchange.send({
      ...shared,
      method: 'GET',
      url,
      headers: { accept: 'application/json' },
      authorization,
    });
  }
  if (response.status === 200) return parseToken(response, action);
  throw await responseError(response, {
    action,
    thing: 'token service',
    registry: endpoint.credentialsName,
    origin: service.realm.origin,
    scrub: (text) => exchange.secrets.scrub(text),
  });
}

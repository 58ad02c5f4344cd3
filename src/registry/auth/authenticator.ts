import { untilAborted } from '../../oci/pause.js';
import { basicAuthorization, headerOf, type Challenge } from '../http/headers.js';
import type { Credentials } from '../config/options.js';
import type { CredentialStore } from './credentials.js';
import type { Endpoint } from '../config/endpoint.js';
import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import { isLoopback } from '../../oci/reference.js';
import { readBody, refusal } from '../http/answers.js';
import type { WireAnswer } from '../http/wire.js';
import type { Exchange } from '../http/exchange.js';
import { verdictOf } from '../../oci/guess.js';
import { covers, formatScopes, mergeScopes, parseScopes, type Scopes } from './scope.js';

/** What an authorization is wanted for. */
export interface Wish {
  readonly endpoint: Endpoint;
  readonly scopes: Scopes;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

interface HeldToken {
  readonly scopes: Scopes;
  readonly identity: string;
  readonly token: Token;
}

/** What is known of how a host authenticates. */
interface HostState {
  service: TokenService | undefined;
  isBasic: boolean;
  readonly held: HeldToken[];
  /** What the host asked for beyond a wish, by the wish's scopes. */
  readonly asked: Map<string, Scopes>;
  readonly underWay: Map<string, Promise<string>>;
}

const maxHeld = 1000;

function keyOf(scopes: Scopes): string {
  return formatScopes(scopes).join(' ');
}

function identityOf(credentials: Credentials | undefined): string {
  if (credentials === undefined) return '';
  return credentials.kind === 'password' ? `password:${credentials.username}` : 'identity-token';
}

/**
 * Gives requests their `Authorization` (RFC 9110 section 11.6.2): Basic (RFC 7617), or Bearer tokens (RFC 6750 section 2.1), which
 * are kept by host and scope until they expire.
 */
export class Authenticator {
  readonly #hosts = new Map<string, HostState>();
  readonly #refreshTokens = new Map<string, string>();

  constructor(
    readonly exchange: Exchange,
    readonly store: CredentialStore,
  ) {}

  /** The authorization to send from the start, or undefined where the host was not heard to want one yet. */
  async authorize(wish: Wish): Promise<string | undefined> {
    const state = this.#stateOf(wish.endpoint);
    if (state.service === undefined && !state.isBasic) return undefined;
    const credentials = await this.#credentials(wish.endpoint);
    if (state.service !== undefined) return this.#bearer(state, state.service, wish, credentials);
    return this.#basic(credentials);
  }

  /**
   * Learns from a host that refused. Of several challenges Bearer goes before Basic.
   * @param refused the authorization that did not do
   * @returns another authorization to try, or undefined where there is none
   * @throws AirliftError where a token can't be had
   */
  async answer(
    wish: Wish,
    challenges: readonly Challenge[],
    refused: string | undefined,
  ): Promise<string | undefined> {
    const state = this.#stateOf(wish.endpoint);
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer');
    const credentials = await this.#credentials(wish.endpoint);
    if (bearer !== undefined) {
      this.#forget(state, refused);
      state.service = tokenServiceOf(bearer, wish.endpoint, wish.doing);
      if (state.asked.size >= maxHeld) state.asked.clear();
      state.asked.set(keyOf(wish.scopes), parseScopes(bearer.parameters['scope'] ?? ''));
      return this.#bearer(state, state.service, wish, credentials);
    }
    if (!challenges.some((challenge) => challenge.scheme === 'basic')) return undefined;
    state.isBasic = true;
    const authorization = this.#basic(credentials);
    return authorization === refused ? undefined : authorization;
  }

  #stateOf(endpoint: Endpoint): HostState {
    let state = this.#hosts.get(endpoint.origin);
    if (state === undefined) {
      state = { service: undefined, isBasic: false, held: [], asked: new Map(), underWay: new Map() };
      this.#hosts.set(endpoint.origin, state);
    }
    return state;
  }

  async #credentials(endpoint: Endpoint): Promise<Credentials | undefined> {
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

  #forget(state: HostState, refused: string | undefined): void {
    const at = state.held.findIndex((held) => `Bearer ${held.token.text}` === refused);
    if (at >= 0) state.held.splice(at, 1);
  }

  /** A token that covers the wish: one that is held, one that is being fetched, or a new one. */
  async #bearer(
    state: HostState,
    service: TokenService,
    wish: Wish,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const identity = identityOf(credentials);
    const now = Date.now();
    for (let at = state.held.length - 1; at >= 0; at--)
      if ((state.held[at]?.token.expires ?? 0) <= now) state.held.splice(at, 1);
    const mine = state.held.filter((held) => held.identity === identity);
    const held = mine.find((entry) => covers(entry.scopes, wish.scopes));
    if (held !== undefined) return `Bearer ${held.token.text}`;
    // What was granted before for the same repository stays part of the wish, so that one token does for all of it.
    const before = mine.filter((entry) =>
      [...entry.scopes.keys()].some((resource) => wish.scopes.has(resource)),
    );
    const asked = state.asked.get(keyOf(wish.scopes)) ?? new Map();
    const scopes = mergeScopes(wish.scopes, asked, ...before.map((entry) => entry.scopes));
    const narrow = mergeScopes(wish.scopes, asked);
    const key = [identity, service.realm.href, keyOf(scopes)].join(' ');
    let underWay = state.underWay.get(key);
    if (underWay === undefined) {
      const fetch = (scopes: Scopes): Promise<string> =>
        this.#fetchToken(state, service, { ...wish, scopes, signal: undefined }, credentials);
      underWay = fetch(scopes)
        .catch((error: unknown) => {
          // A service may refuse scopes over several repositories that it grants one by one.
          if (keyOf(scopes) === keyOf(narrow) || verdictOf(error) !== 'absent') throw error;
          return fetch(narrow);
        })
        .finally(() => state.underWay.delete(key));
      state.underWay.set(key, underWay);
    }
    return untilAborted(underWay, wish.doing, wish.signal);
  }

  async #fetchToken(
    state: HostState,
    service: TokenService,
    wish: Wish,
    credentials: Credentials | undefined,
  ): Promise<string> {
    const { exchange } = this;
    const { endpoint, scopes, doing, signal } = wish;
    const fresh =
      credentials?.kind === 'identity-token' ? this.#refreshTokens.get(credentials.token) : undefined;
    const used: Credentials | undefined =
      fresh === undefined ? credentials : { kind: 'identity-token', token: fresh };
    const token = await requestToken({
      exchange,
      service,
      scopes,
      credentials: used,
      endpoint,
      doing,
      signal,
    });
    exchange.secrets.addToken(token.text);
    if (token.refreshToken !== undefined) {
      exchange.secrets.addToken(token.refreshToken);
      if (credentials?.kind === 'identity-token')
        this.#refreshTokens.set(credentials.token, token.refreshToken);
    }
    if (state.held.length >= maxHeld) state.held.shift();
    state.held.push({ scopes, identity: identityOf(credentials), token });
    return `Bearer ${token.text}`;
  }
}

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

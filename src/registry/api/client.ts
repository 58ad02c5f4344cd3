import type { AirliftError } from '../../errors.js';
import type { Authenticator, AuthorizationRequest } from '../auth/authenticator.js';
import type { Scopes } from '../auth/scope.js';
import type { Endpoint } from '../config/endpoint.js';
import type { Exchange } from '../http/exchange.js';
import { headerOf, parseChallenges } from '../http/headers.js';
import { discard, responseError } from '../http/responses.js';
import type { SentContent, WireRequest, WireResponse } from '../http/wire.js';

/** A request to a registry. */
export interface Call {
  readonly endpoint: Endpoint;
  readonly method: WireRequest['method'];
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | SentContent | undefined;
  /** Permissions that a token needs for the request. */
  readonly scopes: Scopes;
  /** The attempted action, for messages. */
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
  /** Never retry. */
  readonly once?: boolean | undefined;
  /** Returns true for a response that must not be retried, although its status is transient. */
  readonly isFinal?: ((response: WireResponse) => boolean) | undefined;
  /** Most bytes of a small response; the request is retried if its body breaks off. */
  readonly whole?: number | undefined;
}

const userAgent = 'airlift';
/** Challenges to answer per request: one for an expired token, one for a token with too small a scope. */
const maxChallenges = 2;

/** Sends authorized requests to registries. All parts of the distribution API use it. */
export class RegistryClient {
  constructor(
    readonly exchange: Exchange,
    readonly authenticator: Authenticator,
    /** Reports problems that do not stop the run. */
    readonly warn: (text: string) => void = () => undefined,
  ) {}

  /**
   * Sends a request, authenticates if the registry demands it (401, RFC 9110 section 15.5.2; `insufficient_scope`, RFC 6750 section 3.1),
   * and returns the last response whatever its status.
   * @throws AirliftError `network`, `tls`, `interrupted`, `rate-limited`, and errors of the token service
   */
  async send(call: Call): Promise<WireResponse> {
    const { endpoint, scopes, action, signal, url } = call;
    const authorizationRequest: AuthorizationRequest = { endpoint, scopes, action, signal };
    const isOwn = url.origin === endpoint.origin;
    let authorization = isOwn ? await this.authenticator.authorize(authorizationRequest) : undefined;
    for (let challenged = 0; ; challenged++) {
      const response = await this.exchange.send({
        method: call.method,
        url,
        headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...call.headers },
        authorization,
        body: call.body,
        signal,
        action,
        registry: endpoint.registry,
        once: call.once,
        isFinal: call.isFinal,
        whole: call.whole,
        hasAlternative: endpoint.hasAlternative,
      });
      if (!isOwn || response.url.origin !== endpoint.origin || challenged >= maxChallenges) return response;
      const challenges = parseChallenges(headerOf(response, 'www-authenticate') ?? '');
      const needsScope = challenges.some(({ parameters }) => parameters['error'] === 'insufficient_scope');
      if (response.status !== 401 && !(response.status === 403 && needsScope)) return response;
      const next = await this.authenticator.answerChallenge(authorizationRequest, challenges, authorization);
      if (next === undefined) return response;
      await discard(response);
      authorization = next;
    }
  }

  /** Makes the error for an unsuccessful response to `call`. */
  errorFor(
    response: WireResponse,
    call: Pick<Call, 'action' | 'endpoint'>,
    thing: string,
  ): Promise<AirliftError> {
    return responseError(response, {
      action: call.action,
      thing,
      registry: call.endpoint.credentialsName,
      origin: call.endpoint.origin,
      scrub: (text) => this.exchange.secrets.scrub(text),
    });
  }
}

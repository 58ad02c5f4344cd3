import type { AirliftError } from '../../errors.js';
import { discard, refusal } from '../http/answers.js';
import type { Authenticator, Wish } from '../auth/authenticator.js';
import { parseChallenges } from '../http/headers.js';
import type { Endpoint } from '../config/endpoint.js';
import type { Exchange } from '../http/exchange.js';
import type { Scopes } from '../auth/scope.js';
import { headerOf } from '../http/headers.js';
import type { SentContent, WireAnswer, WireRequest } from '../http/wire.js';

/** A request to a registry. */
export interface Call {
  readonly endpoint: Endpoint;
  readonly method: WireRequest['method'];
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | SentContent | undefined;
  /** What a token must allow. */
  readonly scopes: Scopes;
  /** What was attempted, for messages. */
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** Do not try again after a fault. */
  readonly once?: boolean | undefined;
  /** Ends the retries at an answer that would be retried otherwise. */
  readonly isFinal?: ((answer: WireAnswer) => boolean) | undefined;
  /** The answer is small, at most so many bytes: where it breaks off it is asked for again. */
  readonly whole?: number | undefined;
}

const userAgent = 'airlift';
/** A token that has run out, then one whose scope does not do. */
const maxChallenges = 2;

/** Requests to registries with their authorization: what all parts of the distribution API are made of. */
export class RegistryClient {
  constructor(
    readonly exchange: Exchange,
    readonly authenticator: Authenticator,
    /** Takes what a person should know of although it stops nothing. */
    readonly warn: (text: string) => void = () => undefined,
  ) {}

  /**
   * Sends a request, authenticates where the registry asks for it (401, RFC 9110 section 15.5.2; `insufficient_scope`, RFC 6750
   * section 3.1), and returns the last answer whatever its status.
   * @throws AirliftError `network`, `tls`, `interrupted`, `rate-limited`, and what the token service answered
   */
  async send(call: Call): Promise<WireAnswer> {
    const { endpoint, scopes, doing, signal, url } = call;
    const wish: Wish = { endpoint, scopes, doing, signal };
    const isOwn = url.origin === endpoint.origin;
    let authorization = isOwn ? await this.authenticator.authorize(wish) : undefined;
    for (let challenged = 0; ; challenged++) {
      const answer = await this.exchange.send({
        method: call.method,
        url,
        headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...call.headers },
        authorization,
        body: call.body,
        signal,
        doing,
        registry: endpoint.registry,
        once: call.once,
        isFinal: call.isFinal,
        whole: call.whole,
        hasAlternative: endpoint.hasAlternative,
      });
      if (!isOwn || answer.url.origin !== endpoint.origin || challenged >= maxChallenges) return answer;
      const challenges = parseChallenges(headerOf(answer, 'www-authenticate') ?? '');
      const isScope = challenges.some((challenge) => challenge.parameters['error'] === 'insufficient_scope');
      if (answer.status !== 401 && !(answer.status === 403 && isScope)) return answer;
      const better = await this.authenticator.answer(wish, challenges, authorization);
      if (better === undefined) return answer;
      await discard(answer);
      authorization = better;
    }
  }

  /** The error for an answer that is not what `call` asked for. */
  refusal(answer: WireAnswer, call: Pick<Call, 'doing' | 'endpoint'>, thing: string): Promise<AirliftError> {
    return refusal(answer, {
      doing: call.doing,
      thing,
      registry: call.endpoint.credentialsName,
      origin: call.endpoint.origin,
      scrub: (text) => this.exchange.secrets.scrub(text),
    });
  }
}

import { AirliftError, isAirliftError } from '../../errors.js';
import { verdictOf } from '../../oci/guess.js';
import type { Endpoint } from '../config/endpoint.js';
import { isHtml } from '../http/responses.js';
import type { WireResponse } from '../http/wire.js';

/** How often to retry a request for guessed content. */
export interface RetryPolicy {
  /** Never retry: the host did not respond to the last guess, after all retries. */
  readonly once: boolean;
  /** Returns true for a response that must not be retried, although its status is transient. */
  isFinal(response: WireResponse): boolean;
}

/**
 * Whether a request was redirected to a web page. GHCR redirects requests for referrers to a page of GitHub that responds 429 or 422, which
 * does not mean that the registry is overloaded. An error page (5xx) behind a redirect to another registry is that registry's fault.
 */
function isWebPage(response: WireResponse, requested: URL): boolean {
  if (response.url.href === requested.href || !isHtml(response)) return false;
  return response.status < 500 || !response.url.pathname.startsWith('/v2/');
}

/** Requests content that rarely exists, with one rule for which errors mean that it does not exist (`verdictOf`). */
export class Guesses {
  /** Origins that did not respond to the last guess. */
  readonly #silent = new Set<string>();

  /**
   * Requests guessed content.
   * @throws AirliftError `not-found`, with the status if there is one, for every error that means the content does not exist; the error of
   *   `request` if that remains unknown
   */
  async request<T>(endpoint: Endpoint, url: URL, request: (policy: RetryPolicy) => Promise<T>): Promise<T> {
    const { origin } = endpoint;
    let sawWebPage = false;
    const isFinal = (response: WireResponse): boolean => (sawWebPage = isWebPage(response, url));
    try {
      const result = await request({ once: this.#silent.has(origin), isFinal });
      this.#silent.delete(origin);
      return result;
    } catch (error) {
      // A web page, or content that is no manifest and no list, also means that the content does not exist.
      const isOtherContent = sawWebPage || isAirliftError(error, 'input');
      const verdict = verdictOf(error) === 'unanswered' && isOtherContent ? 'absent' : verdictOf(error);
      if (verdict === 'unanswered') this.#silent.add(origin);
      if (verdict !== 'absent' || !(error instanceof AirliftError)) throw error;
      this.#silent.delete(origin);
      if (error.code === 'not-found') throw error;
      throw new AirliftError('not-found', error.message, { status: error.status, cause: error });
    }
  }
}

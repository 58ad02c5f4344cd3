import { AirliftError, isAirliftError } from '../../errors.js';
import { verdictOf } from '../../oci/guess.js';
import { isHtml } from '../http/answers.js';
import type { Endpoint } from '../config/endpoint.js';
import type { WireAnswer } from '../http/wire.js';

/** How patiently a question is asked that airlift only guesses at. */
export interface Patience {
  /** Do not retry: the host did not answer the last such question, after all retries. */
  readonly once: boolean;
  /** Ends the retries at an answer that would be retried otherwise. */
  isFinal(answer: WireAnswer): boolean;
}

/**
 * Whether a request was redirected to a web page. GHCR sends requests for referrers to a page of GitHub that answers 429 or 422:
 * it says nothing of the registry's load. An error page (5xx) behind a redirect to another registry is that registry's fault.
 */
function isPage(answer: WireAnswer, asked: URL): boolean {
  if (answer.url.href === asked.href || !isHtml(answer)) return false;
  return answer.status < 500 || !answer.url.pathname.startsWith('/v2/');
}

/** Asks questions whose answer is mostly no, by the one rule for what counts as "not there" (`verdictOf`). */
export class Guesses {
  /** Hosts that did not answer the last question. */
  readonly #silent = new Set<string>();

  /**
   * Asks.
   * @throws AirliftError `not-found`, with the status where there is one, for everything that counts as not there; what `ask` threw
   *   where nobody knows
   */
  async ask<T>(endpoint: Endpoint, url: URL, ask: (patience: Patience) => Promise<T>): Promise<T> {
    const { origin } = endpoint;
    let hasPage = false;
    const isFinal = (answer: WireAnswer): boolean => (hasPage = isPage(answer, url));
    try {
      const answer = await ask({ once: this.#silent.has(origin), isFinal });
      this.#silent.delete(origin);
      return answer;
    } catch (error) {
      const told = verdictOf(error);
      // What is no manifest or no list at all is another way to say no.
      const isOther = hasPage || isAirliftError(error, 'input');
      const verdict = told === 'unanswered' && isOther ? 'absent' : told;
      if (verdict === 'unanswered') this.#silent.add(origin);
      if (verdict !== 'absent' || !(error instanceof AirliftError)) throw error;
      this.#silent.delete(origin);
      if (error.code === 'not-found') throw error;
      throw new AirliftError('not-found', error.message, { status: error.status, cause: error });
    }
  }
}

import { AirliftError } from '../errors.js';

/**
 * Guesses: requests for content that airlift only supposes to exist, such as the referrers API, the tags of signatures, a tag or a
 * blob before a push, a mount. Usually the answer is no, and registries say no in many ways.
 */

/**
 * The meaning of an error in answer to a guess:
 *
 * - `absent`: the registry answered and did not provide the content. It counts as missing.
 * - `unanswered`: the registry gave no usable answer (host gone, 429, 5xx, wrong content). That is an error; optional content is left
 *   out with a warning.
 * - `fatal`: not an answer (interrupted, disk full, pull quota used up).
 */
export type Verdict = 'absent' | 'unanswered' | 'fatal';

const noAnswer: ReadonlySet<string> = new Set<AirliftError['code']>([
  'network',
  'tls',
  'registry',
  'rate-limited',
  'unauthorized',
  'denied',
  'unsupported',
  'input',
  'digest-mismatch',
  'size-mismatch',
]);

/**
 * Reports whether an HTTP status is a definite no: one that the registry would repeat, whether it means "no such content" (404, 410),
 * "no such API" (400, 405, 406, 501) or "no permission to know" (401, 403, 412, 422, 451). A success with unexpected content is a no,
 * too.
 */
export function isNo(status: number): boolean {
  if (status >= 500) return status === 501 || status === 505;
  return status !== 408 && status !== 425 && status !== 429;
}

/**
 * Reports whether a registry has content and withholds it because of a policy (412, as Harbor before it has scanned an image) or the
 * law (451).
 */
export function isWithheld(status: number | undefined): boolean {
  return status === 412 || status === 451;
}

/** Reports whether a registry refuses to show content without saying that it lacks it. */
export function isRefusedReading(error: unknown): boolean {
  if (!(error instanceof AirliftError) || error.status === undefined) return false;
  const { status, code } = error;
  return code !== 'not-found' && status >= 400 && status !== 404 && status !== 410 && isNo(status);
}

/** Returns the meaning of an error in answer to a guess. */
export function verdictOf(error: unknown): Verdict {
  if (!(error instanceof AirliftError)) return 'fatal';
  const { code, status } = error;
  if (code === 'not-found') return 'absent';
  if (!noAnswer.has(code)) return 'fatal';
  if (status !== undefined) return isNo(status) ? 'absent' : 'unanswered';
  // Without a status, the user's own pull budget or a rule that blocks the registry.
  return code === 'rate-limited' || code === 'denied' || code === 'unauthorized' ? 'fatal' : 'unanswered';
}

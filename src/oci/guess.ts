import { AirliftError } from '../errors.js';

/**
 * What counts as "not there". Nobody named what airlift asks for here: the referrers API, the tags that signatures may have, the
 * state of a tag or a blob before a push, a mount. Mostly the answer is no, and registries say no in many ways.
 */

/**
 * How to take an error in answer to such a question:
 *
 * - `absent`: the registry answered, and did not give the thing. It counts as not there.
 * - `unanswered`: the registry gave no usable answer (host gone, 429, 5xx, wrong content). That is an error; for optional content it
 *   is a warning, and the content is left out.
 * - `fatal`: it is no answer (interrupted, disk full, the budget of downloads is spent).
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
 * Whether an HTTP status that is not what was asked for is a definite no: every one that a registry would give again, whether it
 * means "no such thing" (404, 410), "no such API" (400, 405, 406, 501), or, for want of a right to know, anything else (401, 403,
 * 412, 422, 451). A success with other content than was asked for is a no as well.
 */
export function isNo(status: number): boolean {
  if (status >= 500) return status === 501 || status === 505;
  return status !== 408 && status !== 425 && status !== 429;
}

/**
 * Whether a registry has a thing and does not hand it out: a policy says so, as in Harbor before an image is scanned (412), or the
 * law (451).
 */
export function isWithheld(status: number | undefined): boolean {
  return status === 412 || status === 451;
}

/** Whether a registry refuses to show what it does not say to lack. */
export function isRefusedReading(error: unknown): boolean {
  if (!(error instanceof AirliftError) || error.status === undefined) return false;
  const { status, code } = error;
  return code !== 'not-found' && status >= 400 && status !== 404 && status !== 410 && isNo(status);
}

export function verdictOf(error: unknown): Verdict {
  if (!(error instanceof AirliftError)) return 'fatal';
  const { code, status } = error;
  if (code === 'not-found') return 'absent';
  if (!noAnswer.has(code)) return 'fatal';
  if (status !== undefined) return isNo(status) ? 'absent' : 'unanswered';
  // Without a status: the user's own budget of downloads, or a rule that blocks the registry.
  return code === 'rate-limited' || code === 'denied' || code === 'unauthorized' ? 'fatal' : 'unanswered';
}

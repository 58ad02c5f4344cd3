import { RE2JS, RE2JSException } from 're2js';
import { AirliftError, messageOf } from '../errors.js';

/** A regular expression that answers in time linear in the text, whatever the pattern. */
export interface LinearRegex {
  /** Whether the pattern matches anywhere in the text. */
  test(text: string): boolean;
}

/** Characters; RE2 itself bounds repeats (1,000) and nesting, but takes patterns of any length. */
const maxPatternLength = 512;

/**
 * Prepares a regular expression in RE2's syntax, which skopeo's lists use (`regexp/syntax` of Go). A list from outside may hold a
 * pattern that would keep a backtracking engine busy for years, so JavaScript's own engine is not used.
 * @throws AirliftError `usage` that says what in the pattern is malformed or not supported
 */
export function parseRegex(pattern: string): LinearRegex {
  const shown = JSON.stringify(pattern.slice(0, 100));
  if (pattern.length > maxPatternLength)
    throw new AirliftError(
      'usage',
      `parse regular expression ${shown}: too long; got ${pattern.length} characters, want at most ${maxPatternLength}`,
    );
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(pattern);
  } catch (cause) {
    if (!(cause instanceof RE2JSException)) throw cause;
    const reason = messageOf(cause).replace(/^error parsing regexp: /, '');
    throw new AirliftError('usage', `parse regular expression ${shown}: ${reason}`, { cause });
  }
  return { test: (text) => compiled.matcher(text).find() };
}

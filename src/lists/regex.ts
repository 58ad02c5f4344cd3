import { RE2JS, RE2JSException } from 're2js';
import { AirliftError, messageOf } from '../errors.js';

/** A regular expression that matches in time linear in the text, whatever the pattern. */
export interface LinearRegex {
  /** Reports whether the pattern matches anywhere in the text. */
  test(text: string): boolean;
}

/** Maximum length in characters. RE2 limits repeats (1,000) and nesting, but not the length. */
const maxPatternLength = 512;

/**
 * Compiles a regular expression in RE2's syntax, which skopeo's lists use (`regexp/syntax` of Go). JavaScript's own engine
 * backtracks: a pattern in an untrusted list could keep it busy for years.
 * @throws AirliftError `usage` with the malformed or unsupported part of the pattern
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

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { parseRegex } from '../../src/lists/regex.js';

test('common patterns match tags', () => {
  const cases: [string, string[], string[]][] = [
    ['^v3', ['v3', 'v3.1'], ['v2', 'xv3']],
    ['^1\\.13\\.[12]-alpine-perl$', ['1.13.1-alpine-perl'], ['1.13.3-alpine-perl', '1x13.1-alpine-perl']],
    ['^(v?\\d+\\.){2}\\d+$', ['v1.2.3', '1.20.30'], ['1.2', 'v1.2.3-rc1']],
    ['(?i)RC', ['1.0-rc1', '1.0-Rc'], ['1.0']],
    ['(?i)^[a-c]+$', ['ABC', 'abC'], ['d']],
    ['^(?:alpine|bookworm)$', ['alpine'], ['alpine3']],
    ['', ['anything', ''], []],
  ];
  for (const [pattern, yes, no] of cases) {
    for (const text of yes) assert.equal(parseRegex(pattern).test(text), true, `${pattern} on ${text}`);
    for (const text of no) assert.equal(parseRegex(pattern).test(text), false, `${pattern} on ${text}`);
  }
});

test('patterns that are malformed, or cannot run in linear time, are refused by name', () => {
  const cases: [string, RegExp][] = [
    ['(a)\\1', /invalid escape sequence: `\\1`/],
    ['(?=a)', /invalid or unsupported Perl syntax/],
    ['a**', /invalid nested repetition operator/],
    ['*a', /missing argument to repetition operator/],
    ['(a', /missing closing \)/],
    ['a)', /unexpected \)/],
    ['[a', /missing closing \]/],
    ['[z-a]', /invalid character class range/],
    ['a{2,1}', /invalid repeat count/],
    ['\\', /trailing backslash/],
    ['a{1000}{1000}', /invalid nested repetition operator/],
    ['((a{100}){100}){100}', /invalid repeat count/],
    ['a'.repeat(600), /too long; got 600 characters, want at most 512/],
  ];
  for (const [pattern, message] of cases)
    assert.throws(
      () => parseRegex(pattern),
      (error) => isAirliftError(error) && error.code === 'usage' && message.test(error.message),
      pattern.slice(0, 50),
    );
});

test('patterns that would keep a backtracking engine busy for years match quickly', () => {
  const text = `${'a'.repeat(127)}!`;
  for (const pattern of ['^(a+)+$', '^(a|a)*$', '^(a|aa)+$', '^(.*a){20}$', '^(a?){50}a{50}b$', '(x+x+)+y'])
    assert.equal(parseRegex(pattern).test(text), false, pattern);
});

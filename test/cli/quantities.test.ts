import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration, parseSize } from '../../src/cli/quantities.js';
import { isAirliftError } from '../../src/errors.js';

test('sizes: powers of 1000, or of 1024 with Ki, Mi, …', () => {
  const cases: [string, number][] = [
    ['1', 1],
    ['32M', 32_000_000],
    ['32 MB', 32_000_000],
    ['4Gi', 4 * 2 ** 30],
    ['1.5kib', 1536],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize('chunk-size', text), bytes, text);
  for (const text of ['', '0', '-1', 'M', '1X', '1e9', 'Infinity', '9999999T'])
    assert.throws(
      () => parseSize('chunk-size', text),
      (error) => isAirliftError(error, 'usage'),
      text,
    );
});

test('durations: bare numbers are seconds', () => {
  const cases: [string, number][] = [
    ['500ms', 500],
    ['30', 30_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['0', 0],
  ];
  for (const [text, milliseconds] of cases) assert.equal(parseDuration('x', text), milliseconds, text);
  for (const text of ['', 'm', '5 days', '-1s', '9999h'])
    assert.throws(
      () => parseDuration('x', text),
      (error) => isAirliftError(error, 'usage'),
      text,
    );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListen } from '../../src/cli/serve.js';
import { isAirliftError } from '../../src/errors.js';

test('--listen takes an address, a port, or both', () => {
  const cases: [string, string, number][] = [
    ['127.0.0.1:5000', '127.0.0.1', 5000],
    ['localhost:0', 'localhost', 0],
    ['0.0.0.0', '0.0.0.0', 5000],
    [':8080', '127.0.0.1', 8080],
    ['8080', '127.0.0.1', 8080],
    ['[::1]:80', '::1', 80],
    ['[::1]', '::1', 5000],
  ];
  for (const [text, host, port] of cases) assert.deepEqual(parseListen(text), { host, port }, text);
  for (const text of ['', 'a:b', '::1:80', '127.0.0.1:70000', 'http://x', 'a b', '127.0.0.1:']) {
    assert.throws(
      () => parseListen(text),
      (error) => isAirliftError(error, 'usage'),
      text,
    );
  }
});

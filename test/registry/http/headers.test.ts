import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseChallenges, parseLinks, parseRetryAfter } from '../../../src/registry/http/headers.js';

function read(header: string): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, { ...parameters }]);
}

it('reads a Bearer challenge', () => {
  assert.deepEqual(
    read('Bearer realm="https://auth.test/token",service="reg.test",scope="repository:a/b:pull,push"'),
    [
      [
        'bearer',
        { realm: 'https://auth.test/token', service: 'reg.test', scope: 'repository:a/b:pull,push' },
      ],
    ],
  );
});

it('reads several challenges in one header', () => {
  assert.deepEqual(
    read('Negotiate, Basic realm="a, b=\\"c\\"", Bearer realm=https://x/t, error="invalid_token"'),
    [
      ['negotiate', {}],
      ['basic', { realm: 'a, b="c"' }],
      ['bearer', { realm: 'https://x/t', error: 'invalid_token' }],
    ],
  );
});

it('parses odd spaces, cases, empty members and token68 forms', () => {
  assert.deepEqual(read(' , NTLM TlRMTVNTUAAC== ,, BASIC  Realm = "x" ,charset="UTF-8"'), [
    ['ntlm', {}],
    ['basic', { realm: 'x', charset: 'UTF-8' }],
  ]);
});

it('stops at malformed text', () => {
  assert.deepEqual(read(''), []);
  assert.deepEqual(read('Basic realm="x", "oops"'), [['basic', { realm: 'x' }]]);
  assert.deepEqual(read('Bearer realm="never ends'), [['bearer', { realm: '' }]]);
  assert.equal(parseChallenges('Bearer a=b,'.repeat(100_000)).length < 2000, true);
});

it('finds no parameters of the prototype', () => {
  const [challenge] = parseChallenges('Bearer __proto__="x", constructor="y"');
  assert.equal(challenge?.parameters['toString'], undefined);
});

it('reads Retry-After in seconds and as a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('7', now), 7000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:01:30 GMT', now), 90_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2015 00:00:00 GMT', now), 0);
  for (const bad of [undefined, '', '-1', '1e3', '99999999999', 'soon'])
    assert.equal(parseRetryAfter(bad, now), undefined);
});

it('reads a Link header in time linear in its length', () => {
  assert.equal(parseLinks(`<a>${'; x'.repeat(20_000)}; rel="next`), undefined);
});

it('reads a Link header that is full of white space in linear time', () => {
  // The largest header that is accepted; in quadratic time, these take an hour.
  const header = `<a>${' '.repeat(60_000)}x`;
  for (let count = 0; count < 500; count++) assert.equal(parseLinks(header), undefined);
});

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pause } from '../../../src/oci/pause.js';
import { backoff, isPassing, parseRetryAfter } from '../../../src/registry/http/backoff.js';

it('doubles, with jitter, up to a bound', () => {
  for (const [attempt, least, most] of [
    [1, 250, 500],
    [2, 500, 1000],
    [3, 1000, 2000],
    [50, 15_000, 30_000],
  ] as const) {
    for (let i = 0; i < 50; i++) {
      const wait = backoff(attempt, 500);
      assert.ok(wait >= least && wait <= most, `attempt ${attempt} waits ${wait}`);
    }
  }
});

it('reads Retry-After in seconds and as a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('7', now), 7000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:01:30 GMT', now), 90_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2015 00:00:00 GMT', now), 0);
  for (const bad of [undefined, '', '-1', '1e3', '99999999999', 'soon'])
    assert.equal(parseRetryAfter(bad, now), undefined);
});

it('knows what may pass', () => {
  for (const status of [408, 429, 500, 502, 503, 504, 520]) assert.equal(isPassing(status), true);
  for (const status of [200, 400, 401, 403, 404, 501, 505]) assert.equal(isPassing(status), false);
});

it('stops waiting on an abort', async () => {
  const abort = new AbortController();
  const waiting = pause(60_000, 'fetch x', abort.signal);
  abort.abort();
  await assert.rejects(waiting, { code: 'interrupted', message: 'fetch x: interrupted' });
});

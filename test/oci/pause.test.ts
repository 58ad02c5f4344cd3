import assert from 'node:assert/strict';
import { it } from 'node:test';
import { backoff, pause } from '../../src/oci/pause.js';

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

it('stops waiting on an abort', async () => {
  const abort = new AbortController();
  const waiting = pause(60_000, 'fetch x', abort.signal);
  abort.abort();
  await assert.rejects(waiting, { code: 'interrupted', message: 'fetch x: interrupted' });
});

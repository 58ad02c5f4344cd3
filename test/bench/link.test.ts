import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkSchedule } from './link.js';

test('no more bytes arrive than the bandwidth allows', () => {
  const link = new LinkSchedule(1_000_000, 20, 0);
  const arrivals: { time: number; bytes: number }[] = [];
  for (let now = 0; now < 500; now += 7) arrivals.push({ time: link.send(9000, now), bytes: 9000 });
  let total = 0;
  for (const { time, bytes } of arrivals) {
    total += bytes;
    assert.ok(total <= (time - 20) * 1000 + 1e-6, `${total} bytes after ${time} ms`);
  }
  assert.equal(total, 72 * 9000);
  // 72 × 9 ms on a link that is never idle.
  assert.equal(Math.round(arrivals.at(-1)?.time ?? 0), 72 * 9 + 20);
});

test('an idle link saves no bandwidth for later', () => {
  const link = new LinkSchedule(1_000_000, 20, 0);
  assert.equal(link.send(1000, 5000), 5021);
  assert.equal(link.send(1000, 5000), 5022);
});

test('nothing is sent before the connection is open', () => {
  assert.equal(new LinkSchedule(1_000_000, 20, 40).send(1000, 0), 61);
});

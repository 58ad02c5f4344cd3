import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { ociIndex } from '../../../src/oci/media-types.js';
import { rateLimitOf, RateLimits, type RateLimit } from '../../../src/registry/http/rate-limit.js';
import { testClient, type TestClient } from '../client.js';
import { smallImage } from '../content.js';
import { startOddServer, type OddServer } from '../odd-server.js';
import type { RateBudget } from '../../../src/registry/registry.js';

const { index } = smallImage('counted');

interface Hub extends TestClient {
  readonly server: OddServer;
  readonly name: { registry: string; repository: string };
}

/** A registry that allows `remaining` manifest downloads, counts GET alone, and gives back one for every third HEAD. */
async function startHub(t: TestContext, remaining: number, rateBudget?: RateBudget): Promise<Hub> {
  let left = remaining;
  let heads = 0;
  const server = await startOddServer(t, (request, response) => {
    if (request.method === 'HEAD' && ++heads % 3 === 0) left++;
    const refused = request.method === 'GET' && left <= 0;
    if (request.method === 'GET' && !refused) left--;
    response.writeHead(refused ? 429 : 200, {
      'content-type': ociIndex,
      'docker-content-digest': index.descriptor.digest,
      'content-length': index.bytes.byteLength,
      'ratelimit-limit': '100;w=1',
      'ratelimit-remaining': `${left};w=1`,
    });
    response.end(index.bytes);
  });
  return {
    server,
    name: { registry: server.host, repository: 'a' },
    ...testClient(t, { rateBudget, retries: 0 }),
  };
}

it('reads what a registry allows', () => {
  const of = (limit?: string, remaining?: string): unknown =>
    rateLimitOf({ headers: { 'ratelimit-limit': limit, 'ratelimit-remaining': remaining } });
  assert.deepEqual(of('100;w=21600', '76;w=21600'), { limit: 100, remaining: 76, window: 21_600 });
  assert.deepEqual(of('5000', '4999'), { limit: 5000, remaining: 4999, window: undefined });
  assert.equal(of('100;w=21600'), undefined);
  assert.equal(of('many', 'few'), undefined);
});

it('tells how much is left after resolving, which costs nothing', async (t) => {
  const { registry, name } = await startHub(t, 7);
  assert.equal(await registry.rateLimit(name), undefined);
  await registry.resolve({ ...name, tag: '1' });
  assert.deepEqual(await registry.rateLimit(name), { limit: 100, remaining: 7, window: 1 });
});

it('stops before a download fails', async (t) => {
  const { registry, name, server } = await startHub(t, 3, { whenSpent: 'stop', keep: 1 });
  await registry.resolve({ ...name, tag: '1' });
  for (let i = 0; i < 2; i++) await registry.fetch(name, index.descriptor);
  await assert.rejects(registry.fetch(name, index.descriptor), {
    code: 'rate-limited',
    message: /: the rate budget is spent; got 1 of 100 downloads in 0 h left, want more than 1$/,
    hint: /again later/,
  });
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 2);
});

it('does not overspend where many ask at once', async (t) => {
  const { registry, name, server } = await startHub(t, 9, { whenSpent: 'stop', keep: 2 });
  await registry.resolve({ ...name, tag: '1' });
  const fetches = Array.from({ length: 20 }, () => registry.fetch(name, index.descriptor));
  const outcomes = await Promise.allSettled(fetches);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 7);
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 7);
});

it('of answers that cross each other the lower one counts', () => {
  const limits = new RateLimits();
  const of = (remaining: number): RateLimit => ({ limit: 100, remaining, window: 1 });
  const [before, later] = [performance.now(), performance.now() + 60_000];
  limits.note('a', of(5), before);
  limits.note('a', of(7), before);
  assert.deepEqual(limits.of('a'), of(5));
  limits.note('a', of(4), before);
  limits.spend('a');
  assert.deepEqual(limits.of('a'), of(3));
  limits.note('a', of(9), later);
  assert.deepEqual(limits.of('a'), of(9));
  limits.spend('b');
  assert.equal(limits.of('b'), undefined);
});

it('waits for more', async (t) => {
  const { registry, name, warnings, server } = await startHub(t, 1, { whenSpent: 'wait' });
  await registry.resolve({ ...name, tag: '1' });
  for (let i = 0; i < 2; i++) await registry.fetch(name, index.descriptor);
  assert.match(warnings.join(), /waiting for the rate budget; 0 of 100 downloads in 0 h left$/);
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 2);
});

it('names the hint where no budget was set and the registry refuses', async (t) => {
  const { registry, name } = await startHub(t, 0);
  await assert.rejects(registry.fetch(name, index.descriptor), {
    code: 'rate-limited',
    status: 429,
    hint: /login/,
  });
});

import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { ociIndex } from '../../../src/oci/media-types.js';
import { HostLimiter, rateLimitOf, RateLimits, type RateLimit } from '../../../src/registry/http/limits.js';
import type { RateBudget } from '../../../src/registry/config/options.js';
import { testClient, type TestClient } from '../client.js';
import { collect, content, smallImage } from '../content.js';
import { startOddServer, type OddServer } from '../odd-server.js';

it('halves the limit after 429, and raises it by one after a full round of successes', async () => {
  const limiter = new HostLimiter(8);
  for (let i = 0; i < 8; i++) await limiter.acquire('x', undefined);
  limiter.throttle(0);
  assert.equal(limiter.limit, 4);
  limiter.throttle(0);
  limiter.throttle(0);
  limiter.throttle(0);
  assert.equal(limiter.limit, 1);
  limiter.recordSuccess();
  assert.equal(limiter.limit, 2);
  limiter.recordSuccess();
  limiter.recordSuccess();
  assert.equal(limiter.limit, 3);
  for (let i = 0; i < 100; i++) limiter.recordSuccess();
  assert.equal(limiter.limit, 8);
});

it('grants slots in order up to the limit, and drops interrupted waiters', async () => {
  const limiter = new HostLimiter(1);
  await limiter.acquire('x', undefined);
  const abort = new AbortController();
  const order: string[] = [];
  const first = limiter.acquire('first', abort.signal);
  const second = limiter.acquire('second', undefined).then(() => order.push('second'));
  const third = limiter.acquire('third', undefined).then(() => order.push('third'));
  abort.abort();
  await assert.rejects(first, { code: 'interrupted', message: 'first: interrupted' });
  limiter.release();
  await second;
  assert.deepEqual(order, ['second']);
  limiter.release();
  await third;
  assert.deepEqual(order, ['second', 'third']);
});

it('succeeds in spite of many 429 responses', async (t) => {
  const { descriptor, bytes } = content('storm');
  let running = 0;
  let most = 0;
  let refused = 0;
  const server = await startOddServer(t, (_request, response) => {
    most = Math.max(most, ++running);
    // Each answer takes a while, so that requests meet.
    setTimeout(() => {
      // Two concurrent requests are accepted; the first requests are always rejected.
      const isTooMany = running > 2 || refused < 5;
      running--;
      if (isTooMany) refused++;
      response.writeHead(isTooMany ? 429 : 200).end(isTooMany ? '' : bytes);
    }, 5);
  });
  const { registry } = testClient(t, { retries: 20 });
  const name = { registry: server.host, repository: 'a' };
  const all = Array.from({ length: 40 }, async () => collect(await registry.fetch(name, descriptor)));
  for (const got of await Promise.all(all)) assert.deepEqual(got, bytes);
  assert.ok(refused >= 5 && most <= 32);
});

it('does not deadlock if one host is read from and written to at the same time', async (t) => {
  const { descriptor, bytes } = content(Buffer.alloc(2_000_000, 'x'));
  let isTight = true;
  let done = 0;
  const server = await startOddServer(t, (request, response) => {
    if (isTight) {
      isTight = false;
      response.writeHead(429).end();
    } else if (request.method === 'GET') response.end(bytes);
    else if (request.method === 'POST') response.writeHead(202, { location: '/up' }).end();
    else
      request.resume().on('end', () => {
        done++;
        response.writeHead(201).end();
      });
  });
  const { registry } = testClient(t, { requestsPerHost: 1 });
  const name = { registry: server.host, repository: 'a' };
  const copy = (): Promise<unknown> =>
    registry.push(name, descriptor, (offset) => registry.fetch(name, descriptor, { offset }));
  await Promise.all(Array.from({ length: 6 }, copy));
  assert.equal(done, 6);
});

const { index } = smallImage('counted');

interface Hub extends TestClient {
  readonly server: OddServer;
  readonly name: { registry: string; repository: string };
}

/** A registry that allows `remaining` pulls, counts only GET, and adds one for every third HEAD. */
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

it('reads the pull quota of a registry', () => {
  const of = (limit?: string, remaining?: string): unknown =>
    rateLimitOf({ headers: { 'ratelimit-limit': limit, 'ratelimit-remaining': remaining } });
  assert.deepEqual(of('100;w=21600', '76;w=21600'), { limit: 100, remaining: 76, window: 21_600 });
  assert.deepEqual(of('5000', '4999'), { limit: 5000, remaining: 4999, window: undefined });
  assert.equal(of('100;w=21600'), undefined);
  assert.equal(of('many', 'few'), undefined);
});

it('knows the remaining pulls after resolving, which costs none', async (t) => {
  const { registry, name } = await startHub(t, 7);
  assert.equal(await registry.rateLimit(name), undefined);
  await registry.resolve({ ...name, tag: '1' });
  assert.deepEqual(await registry.rateLimit(name), { limit: 100, remaining: 7, window: 1 });
});

it('stops before a pull fails', async (t) => {
  const { registry, name, server } = await startHub(t, 3, { whenSpent: 'stop', keep: 1 });
  await registry.resolve({ ...name, tag: '1' });
  for (let i = 0; i < 2; i++) await registry.fetch(name, index.descriptor);
  await assert.rejects(registry.fetch(name, index.descriptor), {
    code: 'rate-limited',
    message: /: the pull quota is used up; got 1 of 100 pulls in 0 h left, want more than 1$/,
    hint: /again later/,
  });
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 2);
});

it('does not exceed the quota with concurrent requests', async (t) => {
  const { registry, name, server } = await startHub(t, 9, { whenSpent: 'stop', keep: 2 });
  await registry.resolve({ ...name, tag: '1' });
  const fetches = Array.from({ length: 20 }, () => registry.fetch(name, index.descriptor));
  const outcomes = await Promise.allSettled(fetches);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 7);
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 7);
});

it('keeps the lower quota of overlapping responses', () => {
  const limits = new RateLimits();
  const of = (remaining: number): RateLimit => ({ limit: 100, remaining, window: 1 });
  const [before, later] = [performance.now(), performance.now() + 60_000];
  limits.record('a', of(5), before);
  limits.record('a', of(7), before);
  assert.deepEqual(limits.of('a'), of(5));
  limits.record('a', of(4), before);
  limits.countPull('a');
  assert.deepEqual(limits.of('a'), of(3));
  limits.record('a', of(9), later);
  assert.deepEqual(limits.of('a'), of(9));
  limits.countPull('b');
  assert.equal(limits.of('b'), undefined);
});

it('waits for more pulls', async (t) => {
  const { registry, name, warnings, server } = await startHub(t, 1, { whenSpent: 'wait' });
  await registry.resolve({ ...name, tag: '1' });
  for (let i = 0; i < 2; i++) await registry.fetch(name, index.descriptor);
  assert.match(warnings.join(), /waiting for the pull quota; 0 of 100 pulls in 0 h left$/);
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 2);
});

it('suggests a login if the registry rejects a pull without a budget', async (t) => {
  const { registry, name } = await startHub(t, 0);
  await assert.rejects(registry.fetch(name, index.descriptor), {
    code: 'rate-limited',
    status: 429,
    hint: /login/,
  });
});

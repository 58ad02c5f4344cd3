import assert from 'node:assert/strict';
import { it } from 'node:test';
import { HostLimiter } from '../../../src/registry/http/limiter.js';
import { testClient } from '../client.js';
import { collect, content } from '../content.js';
import { startOddServer } from '../odd-server.js';

it('halves on too many, and grows by one for a full round of good answers', async () => {
  const limiter = new HostLimiter(8);
  for (let i = 0; i < 8; i++) await limiter.enter('x', undefined);
  limiter.tooMany(0);
  assert.equal(limiter.limit, 4);
  limiter.tooMany(0);
  limiter.tooMany(0);
  limiter.tooMany(0);
  assert.equal(limiter.limit, 1);
  limiter.good();
  assert.equal(limiter.limit, 2);
  limiter.good();
  limiter.good();
  assert.equal(limiter.limit, 3);
  for (let i = 0; i < 100; i++) limiter.good();
  assert.equal(limiter.limit, 8);
});

it('lets in as many as are allowed, in the order of asking, and forgets those who leave the queue', async () => {
  const limiter = new HostLimiter(1);
  await limiter.enter('x', undefined);
  const abort = new AbortController();
  const order: string[] = [];
  const first = limiter.enter('first', abort.signal);
  const second = limiter.enter('second', undefined).then(() => order.push('second'));
  const third = limiter.enter('third', undefined).then(() => order.push('third'));
  abort.abort();
  await assert.rejects(first, { code: 'interrupted', message: 'first: interrupted' });
  limiter.leave();
  await second;
  assert.deepEqual(order, ['second']);
  limiter.leave();
  await third;
  assert.deepEqual(order, ['second', 'third']);
});

it('comes through a storm of 429', async (t) => {
  const { descriptor, bytes } = content('storm');
  let running = 0;
  let most = 0;
  let refused = 0;
  const server = await startOddServer(t, (_request, response) => {
    most = Math.max(most, ++running);
    setTimeout(() => {
      // Two at a time are well, and the first ones are refused whatever they do.
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

it('does not come to a stop where one host is read from and written to at once', async (t) => {
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

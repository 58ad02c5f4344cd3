import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { get, request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';
import { inMemory, type Content } from './content.js';
import { failing, htmlPage, retryLater, startFaultProxy, type FaultProxy, type Rule } from './faults.js';
import { multiPlatform } from './image-sets.js';
import { pushBlob, pushImage } from './push-image.js';
import { temp } from './temp.js';
import { sameContent, walkImage, walkRegistry } from './walk.js';

interface Setting {
  readonly proxy: FaultProxy;
  readonly blob: Content;
  readonly bytes: Buffer;
  /** Path of the blob in the registry's API. */
  readonly path: string;
}

async function start(t: TestContext, rules: readonly Rule[], size = 300_000, seed = 1): Promise<Setting> {
  const registry = createRegistryServer(await DirectoryStore.open(join(temp(t), 'store')));
  t.after(() => registry.close());
  const { url, host, port } = await registry.listen('127.0.0.1', 0);
  const proxy = await startFaultProxy({ upstream: url, rules, seed });
  t.after(() => proxy.stop());
  const bytes = randomBytes(size);
  const blob = inMemory(bytes);
  await pushBlob(`${host}:${port}`, 'acme/api', blob);
  return { proxy, blob, bytes, path: `/v2/acme/api/blobs/${blob.digest}` };
}

interface Received {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** Code of the error that ended the response; undefined if it was complete. */
  readonly broken: string | undefined;
}

/** Sends a GET on a new connection, and returns everything received, even after an error. */
async function fetchAll(url: string, headers: Record<string, string> = {}): Promise<Received> {
  const clientRequest = get(url, { agent: false, headers });
  // Node's client emits an error for bytes after the end of a response.
  clientRequest.on('error', () => undefined);
  const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown';
  let response: IncomingMessage;
  try {
    [response] = (await once(clientRequest, 'response')) as [IncomingMessage];
  } catch (error) {
    return { status: 0, headers: {}, body: Buffer.alloc(0), broken: codeOf(error) };
  }
  const chunks: Buffer[] = [];
  let broken: string | undefined;
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch (error) {
    broken = codeOf(error);
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks), broken };
}

test('without rules everything passes unchanged, both ways, and is counted', async (t) => {
  const { proxy, bytes, path, blob } = await start(t, []);
  const image = multiPlatform({ name: 'web' });
  await pushImage(proxy.host, 'acme/web', '1.0', image);
  sameContent((await walkRegistry(proxy.host, 'acme/web', '1.0')).content, await walkImage(image));
  proxy.log.clear();
  assert.deepEqual((await fetchAll(`${proxy.url}${path}`)).body, bytes);
  assert.equal(proxy.log.sentAgain(), 0);
  const part = await fetchAll(`${proxy.url}${path}`, { range: 'bytes=100000-' });
  assert.deepEqual(part.body, bytes.subarray(100_000));
  assert.deepEqual(proxy.log.served().get(blob.digest), { sent: 500_000, distinct: 300_000 });
  assert.equal(proxy.log.sentAgain(), 200_000);
});

test('a reset breaks the response after the given number of bytes, or before it', async (t) => {
  const rule: Rule = { path: /blobs\/sha256/, nth: 1, fault: { do: 'reset', after: 100_000 } };
  const { proxy, bytes, path } = await start(t, [rule, { nth: 2, fault: { do: 'reset' } }]);
  const first = await fetchAll(`${proxy.url}${path}`);
  assert.equal(first.broken, 'ECONNRESET');
  assert.ok(first.body.length <= 100_000);
  assert.deepEqual(first.body, bytes.subarray(0, first.body.length));
  const second = await fetchAll(`${proxy.url}${path}`);
  assert.deepEqual([second.status, second.broken], [0, 'ECONNRESET']);
  assert.deepEqual((await fetchAll(`${proxy.url}${path}`)).body, bytes);
  assert.deepEqual(
    proxy.log.requests.map(({ faults, sent, status }) => ({ faults, sent, status })),
    [
      { faults: ['reset'], sent: 100_000, status: 200 },
      { faults: ['reset'], sent: 0, status: 0 },
      { faults: [], sent: 300_000, status: 200 },
    ],
  );
});

test('a truncated response and one with a wrong length end early or late', async (t) => {
  const { proxy, bytes, path } = await start(t, [
    { nth: 1, fault: { do: 'truncate', after: 5000 } },
    { nth: 2, fault: { do: 'wrong-length', by: 10 } },
    { nth: 3, fault: { do: 'wrong-length', by: -10 } },
  ]);
  const cut = await fetchAll(`${proxy.url}${path}`);
  assert.deepEqual([cut.headers['content-length'], cut.broken], ['300000', 'ECONNRESET']);
  assert.deepEqual(cut.body, bytes.subarray(0, 5000));
  const longer = await fetchAll(`${proxy.url}${path}`);
  assert.deepEqual([longer.headers['content-length'], longer.broken], ['300010', 'ECONNRESET']);
  assert.deepEqual(longer.body, bytes);
  const shorter = await fetchAll(`${proxy.url}${path}`);
  assert.equal(shorter.headers['content-length'], '299990');
  assert.deepEqual(shorter.body, bytes.subarray(0, 299_990));
});

test('a stalled response sends no more bytes, and the connection stays open', async (t) => {
  const { proxy, path } = await start(t, [{ fault: { do: 'stall', after: 5000 } }]);
  const stalled = get(`${proxy.url}${path}`, { agent: false });
  const [response] = (await once(stalled, 'response')) as [IncomingMessage];
  let got = 0;
  response.on('data', (chunk: Buffer) => (got += chunk.length));
  response.on('error', () => undefined);
  while (got < 5000) await once(response, 'data');
  const [entry] = proxy.log.requests;
  assert.deepEqual([got, entry?.sent, entry?.ended, response.complete], [5000, 5000, false, false]);
  stalled.destroy();
});

test('one bit is flipped, at the given offset or at one that the seed chooses', async (t) => {
  const { proxy, bytes, path } = await start(t, [
    { nth: 1, fault: { do: 'flip', at: 77_777 } },
    { nth: 2, fault: { do: 'flip', at: 'random' } },
  ]);
  for (const place of [77_777, undefined]) {
    const { body } = await fetchAll(`${proxy.url}${path}`);
    const differing = [...body.keys()].filter((at) => body[at] !== bytes[at]);
    assert.equal(differing.length, 1);
    if (place !== undefined) assert.equal(differing[0], place);
  }
});

test('a fault with a limit per path disturbs each path only so often', async (t) => {
  const { proxy, path } = await start(t, [{ fault: failing(502), timesPerPath: 1 }], 300);
  const ask = async (query: string): Promise<number> =>
    (await fetchAll(`${proxy.url}${path}${query}`)).status;
  assert.deepEqual([await ask('?a'), await ask('?b'), await ask('?a')], [502, 502, 200]);
});

test('the proxy responds in place of the registry, slowly, or without ranges', async (t) => {
  const challenge = { 'www-authenticate': 'Basic realm="x"' };
  const { proxy, bytes, path } = await start(
    t,
    [
      { nth: 1, fault: failing(502) },
      { nth: 2, fault: retryLater(429, 7) },
      { nth: 3, fault: { do: 'answer', status: 401, headers: challenge } },
      { nth: 4, fault: htmlPage },
      { nth: 5, fault: { do: 'no-range' } },
      { nth: 6, fault: { do: 'slow', bytes: 30, every: 1 } },
    ],
    300,
  );
  const ask = (): Promise<Received> => fetchAll(`${proxy.url}${path}`, { range: 'bytes=100-' });
  assert.equal((await ask()).status, 502);
  const later = await ask();
  assert.deepEqual([later.status, later.headers['retry-after']], [429, '7']);
  assert.equal((await ask()).headers['www-authenticate'], challenge['www-authenticate']);
  assert.match((await ask()).body.toString(), /^<!DOCTYPE html>/);
  const whole = await ask();
  assert.deepEqual([whole.status, whole.headers['accept-ranges']], [200, undefined]);
  assert.deepEqual(whole.body, bytes);
  assert.deepEqual((await ask()).body, bytes.subarray(100));
});

test('blobs are redirected to a second host, and the log shows the headers that it received', async (t) => {
  const { proxy, bytes, path } = await start(t, [
    { path: /\/blobs\//, method: 'GET', fault: { do: 'redirect' } },
  ]);
  const sent = await fetchAll(`${proxy.url}${path}`);
  assert.deepEqual([sent.status, sent.headers.location], [307, `http://${proxy.secondHost}${path}`]);
  const followed = await fetchAll(sent.headers.location ?? '', { authorization: 'Basic leaked' });
  assert.deepEqual(followed.body, bytes);
  const [, second] = proxy.log.requests;
  assert.deepEqual([second?.host, second?.headers.authorization], ['second', 'Basic leaked']);
});

test('an upload is broken off after the given number of bytes, which the registry keeps', async (t) => {
  const rule: Rule = { method: 'PATCH', nth: 1, fault: { do: 'reset', in: 'request', after: 200_000 } };
  const { proxy } = await start(t, [rule]);
  const begun = await fetch(`${proxy.url}/v2/acme/api/blobs/uploads/`, { method: 'POST' });
  const location = `${proxy.url}${begun.headers.get('location') ?? ''}`;
  const sending = request(location, { method: 'PATCH', agent: false });
  const broken = once(sending, 'error');
  sending.end(randomBytes(1_000_000));
  await broken;
  const [entry] = proxy.log.find('PATCH');
  assert.equal(entry?.received, 200_000);
  let held = 0;
  while (held !== 200_000) {
    const status = await fetch(location);
    held = Number(status.headers.get('range')?.split('-')[1]) + 1;
  }
});

test('a network that is down breaks all connections until it is up', async (t) => {
  const { proxy, bytes, path } = await start(t, []);
  proxy.down();
  assert.equal((await fetchAll(`${proxy.url}${path}`)).broken, 'ECONNRESET');
  proxy.up();
  assert.deepEqual((await fetchAll(`${proxy.url}${path}`)).body, bytes);
});

test('rules match nth, times, method and path; a seed always chooses the same requests, another seed others', async (t) => {
  const counted: Rule[] = [
    { method: 'HEAD', fault: failing(500) },
    { path: /tags/, times: 2, fault: failing(503) },
  ];
  const { proxy } = await start(t, counted);
  const statusOf = async (method: string, path: string): Promise<number> =>
    (await fetch(`${proxy.url}${path}`, { method })).status;
  assert.equal(await statusOf('HEAD', '/v2/'), 500);
  assert.equal(await statusOf('GET', '/v2/'), 200);
  const tags = [];
  for (let n = 0; n < 4; n++) tags.push(await statusOf('GET', '/v2/a/tags/list'));
  assert.deepEqual(tags, [503, 503, 404, 404]);
  proxy.heal();
  assert.equal(await statusOf('HEAD', '/v2/'), 200);
  const chosen = async (seed: number): Promise<number[]> => {
    const setting = await start(t, [{ chance: 0.5, fault: failing(500) }], 10, seed);
    const statuses = [];
    for (let n = 0; n < 40; n++) statuses.push((await fetch(`${setting.proxy.url}/v2/`)).status);
    return statuses;
  };
  const first = await chosen(1);
  assert.deepEqual(await chosen(1), first);
  assert.notDeepEqual(await chosen(2), first);
  assert.ok(first.includes(200) && first.includes(500));
});

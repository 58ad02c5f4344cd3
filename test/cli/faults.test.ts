import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import {
  failing,
  retryLater,
  startFaultProxy,
  type FaultLog,
  type FaultProxy,
  type Rule,
} from '../support/faults.js';
import { newHome } from '../support/home.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const user = 'courier';
const password = 'n0t-for-0thers';
const access = { user, password };
const image = multiPlatform({ name: 'faults', bigBytes: 400_000 });
const creds = ['--creds', `${user}:${password}`];
const quick = ['--retry-delay', '5ms', '--idle-timeout', '500ms', '--retries', '8'];
const blobs = /\/v2\/acme\/app\/blobs\/sha256/;
const everything = /\/v2\/.+/;

describe('faults of registries', { skip: needs('docker-registry', 'htpasswd', 'openssl') }, () => {
  let registry: DockerRegistry;
  let tokens: DockerRegistry;
  /** Response of the token registry to requests without a token. */
  let challenge: string;
  const { env } = newHome({ after });

  before(async () => {
    registry = await startDockerRegistry({ htpasswd: access });
    tokens = await startDockerRegistry({ token: { users: { [user]: password } } });
    for (const { host } of [registry, tokens]) await pushImage(host, 'acme/app', '1', image, access);
    const unauthorized = await askRegistry(tokens.host, { method: 'GET', path: '/v2/acme/app/tags/list' });
    challenge = String(unauthorized.headers['www-authenticate']);
  });
  after(() => Promise.all([registry?.stop(), tokens?.stop()]));

  /** Returns the Authorization header that the storage proxy sends to the registry behind it. */
  async function pass(upstream: DockerRegistry): Promise<string> {
    const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    if (upstream === registry) return basic;
    const url = new URL(/realm="([^"]*)"/.exec(challenge)?.[1] ?? '');
    url.searchParams.set('service', /service="([^"]*)"/.exec(challenge)?.[1] ?? '');
    url.searchParams.append('scope', 'repository:acme/app:pull');
    for (let n = 1; n < 20; n++) url.searchParams.append('scope', `repository:site${n}/acme/app:pull,push`);
    const answer = await fetch(url, { headers: { authorization: basic } });
    return `Bearer ${((await answer.json()) as { token: string }).token}`;
  }

  interface Way {
    readonly from?: readonly Rule[];
    readonly to?: readonly Rule[];
    readonly chunkSize?: string;
  }

  async function proxyTo(
    t: Cleanup,
    upstream: DockerRegistry,
    rules: readonly Rule[] = [],
  ): Promise<FaultProxy> {
    const proxy = await startFaultProxy({
      upstream: `http://${upstream.host}`,
      rules,
      seed: 'faults',
      secondHeaders: { authorization: await pass(upstream) },
    });
    t.after(() => proxy.stop());
    return proxy;
  }

  /** Exports and imports through faulty proxies, checks the image, and returns the logs of both proxies. */
  async function carry(
    t: Cleanup,
    upstream: DockerRegistry,
    way: Way,
  ): Promise<{ from: FaultLog; to: FaultLog }> {
    const bundle = join(temp(t), 'site.tar');
    const from = await proxyTo(t, upstream, way.from);
    const to = await proxyTo(t, upstream, way.to);
    await airlift(['export', `${from.host}/acme/app:1`, '-o', bundle, ...creds, ...quick], { env });
    await airlift(['verify', bundle]);
    const prefix = `site${++carried}`;
    const chunks = way.chunkSize === undefined ? [] : ['--chunk-size', way.chunkSize];
    await airlift(['import', bundle, '--to', `${to.host}/${prefix}`, ...creds, ...quick, ...chunks], { env });
    const { content } = await walkRegistry(upstream.host, `${prefix}/acme/app`, '1', access);
    sameContent(content, await walkImage(image));
    return { from: from.log, to: to.log };
  }
  let carried = 0;

  test('a token rejected during transfers is replaced, and the request retried', async (t) => {
    const fault: Rule['fault'] = {
      do: 'answer',
      status: 401,
      headers: { 'www-authenticate': challenge.replace(/,scope="[^"]*"/, '') },
      body: '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}',
    };
    const earlierRequests = tokens.tokenRequests.length;
    const { from, to } = await carry(t, tokens, {
      from: [
        { fault, method: 'GET', path: blobs, nth: [2, 5] },
        { fault, method: 'GET', path: /manifests/, nth: 3 },
      ],
      to: [
        { fault, method: 'PUT', path: /uploads/, nth: [1, 4] },
        { fault, method: 'PUT', path: /manifests/, nth: 2 },
      ],
    });
    const chunked = await carry(t, tokens, {
      to: [
        { fault, method: 'PATCH', nth: [2, 5] },
        { fault, method: 'PUT', path: /uploads/, nth: 3 },
      ],
      chunkSize: '100k',
    });
    for (const log of [from, to, chunked.to])
      assert.equal(log.requests.filter(({ faults }) => faults.length > 0).length, 3);
    assert.ok(tokens.tokenRequests.length > earlierRequests + 6);
  });

  test('many 429 responses, with Retry-After in seconds, as a date, and without it', async (t) => {
    const rules: Rule[] = [
      { fault: retryLater(429, 1), path: everything, nth: [3, 4, 5] },
      { fault: retryLater(429, new Date(Date.now() + 2000).toUTCString()), path: everything, nth: [8, 12] },
      { fault: { do: 'answer', status: 429, body: 'slow down' }, path: everything, chance: 0.2 },
      { fault: retryLater(503, 0), path: everything, chance: 0.1 },
    ];
    const { from, to } = await carry(t, registry, { from: rules, to: rules });
    for (const log of [from, to]) assert.ok(log.requests.filter(({ status }) => status === 429).length > 5);
  });

  test('a Retry-After above the limit ends the run with a hint', async (t) => {
    const hour = new Date(Date.now() + 3_600_000).toUTCString();
    for (const after of ['3600', hour]) {
      const proxy = await proxyTo(t, registry, [{ fault: retryLater(429, after), path: /manifests/ }]);
      const { stderr } = await airlift(
        [
          'export',
          `${proxy.host}/acme/app:1`,
          '-o',
          join(temp(t), 'a.tar'),
          ...creds,
          '--max-retry-after',
          '2s',
        ],
        { env, codes: [1] },
      );
      assert.match(
        stderr,
        /the registry asks to wait \(429\); got 3(?:600|59\d) s, want at most 2 s\n {2}hint: run the same command again later/,
      );
    }
  });

  test('5xx, resets, stalls, truncated bodies and flipped bits on all paths', async (t) => {
    const bodies = { method: 'GET', path: blobs, host: 'first' } as const;
    const { from, to } = await carry(t, registry, {
      from: [
        { fault: failing(502), path: everything, chance: 0.1 },
        { fault: { do: 'reset', after: 'random' }, method: 'GET', path: everything, chance: 0.2 },
        { fault: { do: 'reset', in: 'request' }, path: everything, chance: 0.05 },
        { fault: { do: 'truncate', after: 'random' }, ...bodies, nth: [2, 6] },
        { fault: { do: 'stall', after: 'random' }, ...bodies, nth: [1, 5] },
        { fault: { do: 'flip', at: 'random' }, ...bodies, nth: [3, 8], timesPerPath: 1 },
        { fault: { do: 'no-range' }, ...bodies, chance: 0.2 },
      ],
      to: [
        { fault: failing(500), path: everything, chance: 0.1 },
        { fault: { do: 'reset', in: 'request', after: 'random' }, method: /PUT|PATCH/, chance: 0.2 },
        { fault: { do: 'reset' }, path: everything, chance: 0.1 },
        { fault: { do: 'stall', in: 'request' }, method: 'PUT', nth: 3 },
      ],
    });
    for (const [log, wanted] of [
      [from, ['answer', 'reset', 'truncate', 'stall', 'flip', 'no-range']],
      [to, ['answer', 'reset', 'stall']],
    ] as const) {
      const met = new Set(log.requests.flatMap(({ faults }) => faults));
      for (const fault of wanted) assert.ok(met.has(fault), fault);
    }
  });

  test('slow responses are waited for, stalled ones are retried', async (t) => {
    await carry(t, registry, {
      from: [
        { fault: { do: 'slow', bytes: 200, every: 40 }, path: /manifests/ },
        { fault: { do: 'slow', bytes: 50_000, every: 100 }, method: 'GET', path: blobs },
        { fault: { do: 'stall', after: 300 }, method: 'GET', path: /blobs|manifests/, nth: [2, 4, 6, 9] },
        { fault: { do: 'stall', after: 0 }, path: /manifests/, nth: 2 },
      ],
      to: [
        { fault: { do: 'stall', in: 'request', after: 1000 }, method: 'PUT', path: /uploads/, nth: [2, 3] },
      ],
    });
  });

  test('a wrong Content-Length is retried, and reported if it stays wrong', async (t) => {
    const [layer, ...others] = [...image.blobs.values()].toSorted((a, b) => b.size - a.size);
    const fault = { do: 'wrong-length', by: 7 } as const;
    const at = (blob = layer): Rule => ({ fault, method: 'GET', path: new RegExp(`blobs/${blob?.digest}`) });
    const once = [layer, ...others].map((blob): Rule => ({ ...at(blob), nth: 1 }));
    await carry(t, registry, { from: once });
    const lasting = await proxyTo(t, registry, [at()]);
    const { stderr } = await airlift(
      ['export', `${lasting.host}/acme/app:1`, '-o', join(temp(t), 'a.tar'), ...creds, ...quick],
      { env, codes: [1] },
    );
    assert.match(
      stderr,
      new RegExp(`${layer?.digest}.*; got ${(layer?.size ?? 0) + 7} bytes, want ${layer?.size}\\n`),
    );
  });

  for (const [kind, upstream] of [
    ['password', () => registry],
    ['token', () => tokens],
  ] as const)
    test(`a host that blobs and uploads are redirected to never receives the ${kind}`, async (t) => {
      const way: Way = {
        from: [{ fault: { do: 'redirect' }, method: /GET|HEAD/, path: blobs }],
        to: [{ fault: { do: 'relocate' }, method: 'POST', path: /uploads/ }],
      };
      const whole = await carry(t, upstream(), way);
      const chunked = await carry(t, upstream(), { ...way, chunkSize: '100k' });
      const logs = [whole.from, whole.to, chunked.from, chunked.to];
      const led = logs.flatMap((log) => log.requests).filter(({ host }) => host === 'second');
      for (const wanted of ['GET', 'PUT', 'PATCH'])
        assert.ok(
          led.some(({ method }) => method === wanted),
          wanted,
        );
      for (const { method, target, headers } of led) {
        assert.equal(headers.authorization, undefined, `${method} ${target}`);
        const shown = `${target} ${JSON.stringify(headers)}`;
        for (const secret of [password, Buffer.from(`${user}:${password}`).toString('base64')])
          assert.ok(!shown.includes(secret), shown);
        for (const { token } of tokens.tokenRequests)
          assert.ok(token === undefined || !shown.includes(token));
      }
    });
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { airlift } from '../support/airlift.js';
import { inMemory } from '../support/content.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startFaultProxy, type FaultProxy, type LoggedRequest } from '../support/faults.js';
import { bigLayer, imageOf, type TestImage } from '../support/images.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { startAirlift, type Started } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';
import { until } from '../support/until.js';

const megabyte = 1_000_000;
const several: Readonly<Record<string, TestImage>> = {
  'team/one': multiPlatform({ name: 'one', bigBytes: 300_000 }),
  'team/two': multiPlatform({ name: 'two', bigBytes: 200_000, attestations: true }),
  'team/three': multiPlatform({ name: 'three', platforms: ['linux/amd64'] }),
};
const large = imageOf({ platform: 'linux/amd64', layers: [bigLayer(24 * megabyte, 'large')] });
const largeBlob = [...large.blobs.values()].find(({ size }) => size > megabyte) ?? assert.fail();

const ends: (() => Promise<void> | void)[] = [];
const file: Cleanup = { after: (work) => void ends.push(work) };
after(async () => {
  for (const end of ends) await end();
});

let severalBundle: string;
let largeBundle: string;

before(async () => {
  const source = await serveStore(file);
  const dir = temp(file);
  severalBundle = join(dir, 'several.tar');
  largeBundle = join(dir, 'large.tar');
  for (const [name, image] of Object.entries(several)) await pushImage(source, name, '1', image);
  await pushImage(source, 'team/large', '1', large);
  const names = Object.keys(several).map((name) => `${source}/${name}:1`);
  await airlift(['export', ...names, '-o', severalBundle, '--quiet']);
  await airlift(['export', `${source}/team/large:1`, '-o', largeBundle, '--quiet']);
});

interface Route {
  readonly proxy: FaultProxy;
  /** The registry behind the proxy. */
  readonly host: string;
  readonly env: Readonly<Record<string, string>>;
  /** Directory in which airlift records unfinished uploads. */
  readonly uploads: string;
  arguments(bundle: string, ...flags: string[]): string[];
  /** Imports again without faults, and returns the bytes sent in upload requests. */
  rerun(bundle: string, ...flags: string[]): Promise<number>;
}

/** Starts a proxy in front of a registry, and creates a state directory for airlift. */
async function routeTo(t: TestContext, host: string): Promise<Route> {
  const proxy = await startFaultProxy({ upstream: `http://${host}` });
  t.after(() => proxy.stop());
  const env = { XDG_STATE_HOME: temp(t) };
  const importing = (bundle: string, ...flags: string[]): string[] => [
    ...['import', bundle, '--to', proxy.host, '--retry-delay', '1ms', '--quiet'],
    ...flags,
  ];
  return {
    proxy,
    host,
    env,
    uploads: join(env.XDG_STATE_HOME, 'airlift', 'uploads'),
    arguments: importing,
    rerun: async (bundle, ...flags) => {
      proxy.heal();
      proxy.log.clear();
      await airlift(importing(bundle, ...flags), { env });
      return proxy.log.received(/\/blobs\/uploads\//);
    },
  };
}

/** Breaks the connections that a killed client left open. */
async function breakConnections({ proxy }: Route): Promise<void> {
  proxy.down();
  await until('every connection is closed', () => proxy.log.requests.every(({ ended }) => ended));
  proxy.up();
}

/** Returns the location of the only unfinished upload. */
function unfinishedUpload({ uploads }: Route): string {
  const [kept, ...others] = readdirSync(uploads);
  assert.deepEqual(others, []);
  const { location } = JSON.parse(readFileSync(join(uploads, kept ?? ''), 'utf8')) as { location: string };
  const { pathname, search } = new URL(location);
  return pathname + search;
}

/**
 * Returns how many of the bytes sent before a connection broke the registry has stored: bytes that it had not read by then are lost. It
 * answers once no request writes to the upload.
 */
async function storedBytes(route: Route): Promise<number> {
  const { headers } = await askRegistry(route.host, { method: 'GET', path: unfinishedUpload(route) });
  const [, last] = /^0-(\d+)$/.exec(String(headers.range)) ?? assert.fail(`range ${String(headers.range)}`);
  return Number(last) + 1;
}

/** Kills airlift with SIGKILL, like a power failure, once `isTime` returns true. */
async function killWhen(started: Started, isTime: () => boolean): Promise<void> {
  let hasEnded = false;
  void started.ended.then(() => (hasEnded = true));
  await until('it is time to kill', () => isTime() || hasEnded);
  started.send('SIGKILL');
  const { signal, stdout, stderr } = await started.ended;
  assert.equal(signal, 'SIGKILL', `ended before it could be killed: ${stdout}${stderr}`);
}

async function tagsOf(host: string, repository: string): Promise<string[]> {
  const answer = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/tags/list` });
  if (answer.status === 404) return [];
  return (JSON.parse(answer.body.toString()) as { tags: string[] | null }).tags ?? [];
}

async function isWhole(host: string): Promise<void> {
  for (const [name, image] of Object.entries(several))
    sameContent((await walkRegistry(host, name, '1')).content, await walkImage(image));
}

const blobPuts = (requests: readonly LoggedRequest[]): string[] =>
  requests
    .filter(
      ({ method, target, status }) => method === 'PUT' && target.includes('/uploads/') && status === 201,
    )
    .map(({ target }) => target.replace(/\/uploads\/[^?]*\?.*digest=/, '@'));

test('killed at any request: tags point at complete images only, and no blob is sent twice', async (t) => {
  const whole = await routeTo(t, await serveStore(t));
  await whole.rerun(severalBundle);
  const all = whole.proxy.log.requests.length;
  const sent = blobPuts(whole.proxy.log.requests).length;
  assert.equal(sent, new Set(Object.values(several).flatMap(({ blobs }) => [...blobs.keys()])).size);
  for (const part of [0.05, 0.2, 0.4, 0.6, 0.75, 0.9]) {
    const route = await routeTo(t, await serveStore(t));
    const { requests } = route.proxy.log;
    const running = startAirlift(route.arguments(severalBundle), { env: route.env });
    await killWhen(running, () => requests.length >= all * part);
    await breakConnections(route);
    for (const name of Object.keys(several)) {
      for (const tag of await tagsOf(route.host, name)) await walkRegistry(route.host, name, tag);
    }
    const before = blobPuts(requests);
    await route.rerun(severalBundle);
    const puts = [...before, ...blobPuts(route.proxy.log.requests)];
    assert.equal(new Set(puts).size, puts.length, `a blob was sent twice after a kill at ${part}`);
    await isWhole(route.host);
  }
});

test('killed within a blob: the bytes that the registry has stored are not sent again', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  route.proxy.use({
    fault: { do: 'stall', in: 'request', after: 10 * megabyte },
    method: 'PUT',
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
  });
  const running = startAirlift(route.arguments(largeBundle), { env: route.env });
  await killWhen(running, () => route.proxy.log.requests.some(({ received }) => received === 10 * megabyte));
  const kept = readdirSync(route.uploads);
  assert.equal(kept.length, 1);
  assert.equal(statSync(join(route.uploads, kept[0] ?? '')).mode & 0o777, 0o600);
  assert.equal(statSync(route.uploads).mode & 0o777, 0o700);
  await breakConnections(route);
  const stored = await storedBytes(route);
  assert.ok(stored > 5 * megabyte && stored <= 10 * megabyte, `stored ${stored} bytes`);
  const config = [...large.blobs.values()].find(({ size }) => size < megabyte) ?? assert.fail();
  const sent = await route.rerun(largeBundle);
  assert.ok(sent <= largeBlob.size - stored + config.size, `sent ${sent} bytes, ${stored} were stored`);
  assert.deepEqual(readdirSync(route.uploads), []);
  sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
});

test('a connection that breaks within a blob: the same run resumes after the bytes that the registry has stored', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  route.proxy.use({
    fault: { do: 'reset', in: 'request', after: 10 * megabyte },
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
    times: 1,
  });
  await airlift(route.arguments(largeBundle), { env: route.env });
  const sent = route.proxy.log.received(/\/blobs\/uploads\//);
  // Some of the bytes sent before the break may not have arrived.
  assert.ok(sent < largeBlob.size + 5 * megabyte, `sent ${sent} bytes of ${largeBlob.size}`);
  sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
});

test('an upload that is damaged in the registry is started again', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  route.proxy.use({
    fault: { do: 'stall', in: 'request', after: 10 * megabyte },
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
  });
  const running = startAirlift(route.arguments(largeBundle), { env: route.env });
  await killWhen(running, () => route.proxy.log.requests.some(({ received }) => received === 10 * megabyte));
  await breakConnections(route);
  assert.ok((await storedBytes(route)) > 5 * megabyte);
  // Another client appends other bytes to the upload.
  const body = inMemory(Buffer.from('not a part of the blob'));
  assert.equal(
    (await askRegistry(route.host, { method: 'PATCH', path: unfinishedUpload(route), body })).status,
    202,
  );
  await route.rerun(largeBundle);
  assert.deepEqual(readdirSync(route.uploads), []);
  sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
});

test('Ctrl-C: chunks in flight are completed, a hint says how to resume, and the next run sends the rest', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  const chunks = ['--chunk-size', '2Mi'];
  const running = startAirlift(route.arguments(largeBundle, ...chunks), { env: route.env });
  const patches = (): LoggedRequest[] =>
    route.proxy.log.find('PATCH').filter(({ received }) => received > 5000);
  await until('two chunks are in flight', () => patches().length >= 2);
  running.send('SIGINT');
  const { code, stderr } = await running.ended;
  assert.equal(code, 130);
  assert.match(stderr, /stopping; press Ctrl-C again/);
  assert.match(stderr, /hint: run the same command again: it sends only what is missing/);
  const done = patches();
  assert.ok(
    done.every(({ status, received }) => status === 202 && received === 2 * 1024 * 1024),
    `a chunk was broken off: ${JSON.stringify(done.map(({ status, received }) => [status, received]))}`,
  );
  assert.deepEqual(await tagsOf(route.host, 'team/large'), []);
  const before = done.reduce((sum, { received }) => sum + received, 0);
  const sent = await route.rerun(largeBundle, ...chunks);
  assert.ok(sent < largeBlob.size - before + 5000, `sent ${sent} bytes, ${before} were stored`);
  sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
});

test('Ctrl-C twice: airlift ends immediately, and the import can be resumed', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  route.proxy.use({ fault: { do: 'stall', in: 'request', after: megabyte }, method: 'PATCH', nth: 3 });
  const running = startAirlift(route.arguments(largeBundle, '--chunk-size', '2Mi'), { env: route.env });
  await until('a chunk is stalled', () =>
    route.proxy.log.requests.some(({ faults, received }) => faults.length > 0 && received > 0),
  );
  running.send('SIGINT');
  await until('the first signal is noticed', () => running.stderr().includes('stopping'));
  running.send('SIGINT');
  assert.equal((await running.ended).code, 130);
  await breakConnections(route);
  const stored = await storedBytes(route);
  assert.ok(stored >= 2 * 1024 * 1024, `stored ${stored} bytes`);
  const sent = await route.rerun(largeBundle, '--chunk-size', '2Mi');
  assert.ok(sent < largeBlob.size - stored + 5000, `sent ${sent} bytes, ${stored} were stored`);
  sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
});

describe('with docker-registry', { skip: needs('docker-registry') }, () => {
  test('killed between two chunks: the next run sends the chunks that are missing', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const route = await routeTo(t, server.host);
    const flags = ['--chunk-size', '4Mi', '-j', '1'];
    const chunk = 4 * 1024 * 1024;
    const isChunk = ({ received }: LoggedRequest): boolean => received === chunk;
    route.proxy.use({ fault: { do: 'stall', in: 'request', after: 0 }, method: 'PATCH', nth: 5 });
    const running = startAirlift(route.arguments(largeBundle, ...flags), { env: route.env });
    await killWhen(running, () => route.proxy.log.requests.some(({ faults }) => faults.length > 0));
    const before = route.proxy.log.find('PATCH').filter(isChunk).length;
    assert.ok(before >= 3);
    await breakConnections(route);
    const sent = await route.rerun(largeBundle, ...flags);
    assert.ok(sent < largeBlob.size - before * chunk + 5000, `sent ${sent} bytes after ${before} chunks`);
    sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
  });

  test('a small blob of a new image costs three requests; after a failure none is sent again', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const route = await routeTo(t, server.host);
    const { root, blobs } = several['team/three'] ?? assert.fail();
    route.proxy.use({
      fault: { do: 'answer', status: 403 },
      method: 'PUT',
      path: /\/team\/three\/manifests\//,
    });
    const failed = await airlift(route.arguments(severalBundle), { env: route.env, codes: [1] });
    assert.match(failed.stderr, /403/);
    // A blob that several repositories need is mounted instead.
    const own = [...blobs.keys()].filter(
      (digest) => Object.values(several).filter((image) => image.blobs.has(digest)).length === 1,
    );
    assert.ok(own.length > 1);
    for (const digest of own) {
      const naming = route.proxy.log.requests.filter(
        ({ target }) => target.startsWith('/v2/team/three/') && decodeURIComponent(target).includes(digest),
      );
      assert.deepEqual(
        naming.map(({ method, status }) => `${method} ${status}`),
        ['POST 202', 'PUT 201', 'HEAD 200'],
      );
    }
    assert.equal(await route.rerun(severalBundle), 0, 'no byte of a blob is sent again');
    const { root: got, content } = await walkRegistry(route.host, 'team/three', '1');
    assert.equal(got.digest, root.digest);
    sameContent(content, await walkImage(several['team/three'] ?? assert.fail()));
  });

  test('killed within a request that docker-registry cannot resume: the next run sends it again', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const route = await routeTo(t, server.host);
    route.proxy.use({
      fault: { do: 'stall', in: 'request', after: 10 * megabyte },
      path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
    });
    const running = startAirlift(route.arguments(largeBundle), { env: route.env });
    await killWhen(running, () => route.proxy.log.requests.some(({ faults }) => faults.length > 0));
    await breakConnections(route);
    await route.rerun(largeBundle);
    assert.deepEqual(readdirSync(route.uploads), []);
    sameContent((await walkRegistry(route.host, 'team/large', '1')).content, await walkImage(large));
  });
});

test('--atomic: no tag is set before all images are pushed, then all tags are set', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  const config = [...(several['team/two']?.blobs.keys() ?? [])].at(-1) ?? '';
  route.proxy.use({
    fault: { do: 'answer', status: 403 },
    method: 'PUT',
    path: new RegExp(`digest=${encodeURIComponent(config)}`),
  });
  const failed = await airlift(route.arguments(severalBundle, '--atomic'), { env: route.env, codes: [1] });
  assert.match(failed.stderr, /403/);
  for (const name of Object.keys(several)) assert.deepEqual(await tagsOf(route.host, name), []);
  await route.rerun(severalBundle, '--atomic');
  const isTag = ({ method, target }: LoggedRequest): boolean =>
    method === 'PUT' && target.endsWith('/manifests/1');
  const puts = route.proxy.log.requests.filter(({ method }) => method === 'PUT');
  assert.ok(puts.slice(-Object.keys(several).length).every(isTag));
  assert.equal(puts.filter(isTag).length, Object.keys(several).length);
  await isWhole(route.host);
});

test('copy --atomic: no tag is set before all images are pushed, then all tags are set', async (t) => {
  const source = await serveStore(t);
  for (const [name, image] of Object.entries(several)) await pushImage(source, name, '1', image);
  const route = await routeTo(t, await serveStore(t));
  const names = Object.keys(several).map((name) => `${source}/${name}:1`);
  const copying = ['copy', ...names, '--to', route.proxy.host, '--atomic', '--quiet'];
  route.proxy.use({ fault: { do: 'answer', status: 403 }, method: 'PUT', path: /team\/three\/blobs/ });
  await airlift(copying, { env: route.env, codes: [1] });
  for (const name of Object.keys(several)) assert.deepEqual(await tagsOf(route.host, name), []);
  route.proxy.heal();
  await airlift(copying, { env: route.env });
  await isWhole(route.host);
});

test('--atomic with --keep-going is refused', async (t) => {
  const route = await routeTo(t, await serveStore(t));
  const { stderr } = await airlift(route.arguments(severalBundle, '--atomic', '--keep-going'), {
    codes: [2],
  });
  assert.match(stderr, /--atomic and --keep-going contradict each other/);
});

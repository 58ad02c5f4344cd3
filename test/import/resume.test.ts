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

interface Way {
  readonly proxy: FaultProxy;
  /** The registry itself. */
  readonly host: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where uploads under way are kept. */
  readonly uploads: string;
  arguments(bundle: string, ...flags: string[]): string[];
  /** Imports once more and gives what it sent in requests to upload. */
  again(bundle: string, ...flags: string[]): Promise<number>;
}

/** A registry behind a proxy, and a home for what airlift keeps between runs. */
async function wayTo(t: TestContext, host: string): Promise<Way> {
  const proxy = await startFaultProxy({ upstream: `http://${host}` });
  t.after(() => proxy.stop());
  const env = { XDG_STATE_HOME: temp(t) };
  const importing = (bundle: string, ...flags: string[]): string[] => [
    ...['import', bundle, '--to', proxy.host, '--retry-delay', '1ms', '--quiet'],
    ...flags,
  ];
  return {
    ...{ proxy, host, env },
    uploads: join(env.XDG_STATE_HOME, 'airlift', 'uploads'),
    arguments: importing,
    again: async (bundle, ...flags) => {
      proxy.heal();
      proxy.log.clear();
      await airlift(importing(bundle, ...flags), { env });
      return proxy.log.received(/\/blobs\/uploads\//);
    },
  };
}

/** Breaks what the killed client left open. */
async function letGo({ proxy }: Way): Promise<void> {
  proxy.down();
  await until('every connection is closed', () => proxy.log.requests.every(({ ended }) => ended));
  proxy.up();
}

/** Where the one upload goes on that was left. */
function leftUpload({ uploads }: Way): string {
  const [kept, ...others] = readdirSync(uploads);
  assert.deepEqual(others, []);
  const { location } = JSON.parse(readFileSync(join(uploads, kept ?? ''), 'utf8')) as { location: string };
  const { pathname, search } = new URL(location);
  return pathname + search;
}

/** Waits until the registry has put away what was sent before a connection broke. */
async function hasTaken(way: Way, bytes: number): Promise<void> {
  const path = leftUpload(way);
  await until(`the registry has stored ${bytes} bytes`, async () => {
    const { headers } = await askRegistry(way.host, { method: 'GET', path });
    return headers.range === `0-${bytes - 1}`;
  });
}

/** Kills it as a power cut would, when `isTime`. */
async function killWhen(started: Started, isTime: () => boolean): Promise<void> {
  let hasEnded = false;
  void started.ended.then(() => (hasEnded = true));
  await until('it is time to kill', () => isTime() || hasEnded);
  started.send('SIGKILL');
  const { signal, stdout, stderr } = await started.ended;
  assert.equal(signal, 'SIGKILL', `it ended before it was to be killed: ${stdout}${stderr}`);
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

test('killed at any request: tags point at whole images only, and no blob is sent twice', async (t) => {
  const whole = await wayTo(t, await serveStore(t));
  await whole.again(severalBundle);
  const all = whole.proxy.log.requests.length;
  const sent = blobPuts(whole.proxy.log.requests).length;
  assert.equal(sent, new Set(Object.values(several).flatMap(({ blobs }) => [...blobs.keys()])).size);
  for (const part of [0.05, 0.2, 0.4, 0.6, 0.75, 0.9]) {
    const way = await wayTo(t, await serveStore(t));
    const { requests } = way.proxy.log;
    const running = startAirlift(way.arguments(severalBundle), { env: way.env });
    await killWhen(running, () => requests.length >= all * part);
    await letGo(way);
    for (const name of Object.keys(several)) {
      for (const tag of await tagsOf(way.host, name)) await walkRegistry(way.host, name, tag);
    }
    const before = blobPuts(requests);
    await way.again(severalBundle);
    const puts = [...before, ...blobPuts(way.proxy.log.requests)];
    assert.equal(new Set(puts).size, puts.length, `a blob was sent twice after a kill at ${part}`);
    await isWhole(way.host);
  }
});

test('killed within a blob: what the registry has of it is not sent again', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  way.proxy.use({
    fault: { do: 'stall', in: 'request', after: 10 * megabyte },
    method: 'PUT',
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
  });
  const running = startAirlift(way.arguments(largeBundle), { env: way.env });
  await killWhen(running, () => way.proxy.log.requests.some(({ received }) => received === 10 * megabyte));
  const kept = readdirSync(way.uploads);
  assert.equal(kept.length, 1);
  assert.equal(statSync(join(way.uploads, kept[0] ?? '')).mode & 0o777, 0o600);
  assert.equal(statSync(way.uploads).mode & 0o777, 0o700);
  await letGo(way);
  await hasTaken(way, 10 * megabyte);
  const config = [...large.blobs.values()].find(({ size }) => size < megabyte) ?? assert.fail();
  const sent = await way.again(largeBundle);
  assert.ok(sent <= largeBlob.size - 10 * megabyte + config.size, `sent ${sent} bytes`);
  assert.deepEqual(readdirSync(way.uploads), []);
  sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
});

test('a connection that breaks within a blob: the same run goes on where the registry has got to', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  way.proxy.use({
    fault: { do: 'reset', in: 'request', after: 10 * megabyte },
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
    times: 1,
  });
  await airlift(way.arguments(largeBundle), { env: way.env });
  const sent = way.proxy.log.received(/\/blobs\/uploads\//);
  // Of what was sent before the break, some may not have arrived.
  assert.ok(sent < largeBlob.size + 5 * megabyte, `sent ${sent} bytes of ${largeBlob.size}`);
  sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
});

test('an upload that the registry has damaged is begun anew', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  way.proxy.use({
    fault: { do: 'stall', in: 'request', after: 10 * megabyte },
    path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
  });
  const running = startAirlift(way.arguments(largeBundle), { env: way.env });
  await killWhen(running, () => way.proxy.log.requests.some(({ received }) => received === 10 * megabyte));
  await letGo(way);
  await hasTaken(way, 10 * megabyte);
  // Somebody else has sent something into it.
  const body = inMemory(Buffer.from('not a part of the blob'));
  assert.equal((await askRegistry(way.host, { method: 'PATCH', path: leftUpload(way), body })).status, 202);
  await way.again(largeBundle);
  assert.deepEqual(readdirSync(way.uploads), []);
  sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
});

test('Ctrl-C: chunks under way are finished, how to go on is said, and the next run sends the rest', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  const chunks = ['--chunk-size', '2Mi'];
  const running = startAirlift(way.arguments(largeBundle, ...chunks), { env: way.env });
  const patches = (): LoggedRequest[] =>
    way.proxy.log.find('PATCH').filter(({ received }) => received > 5000);
  await until('two chunks are under way', () => patches().length >= 2);
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
  assert.deepEqual(await tagsOf(way.host, 'team/large'), []);
  const before = done.reduce((sum, { received }) => sum + received, 0);
  const sent = await way.again(largeBundle, ...chunks);
  assert.ok(sent < largeBlob.size - before + 5000, `sent ${sent} bytes, ${before} were there`);
  sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
});

test('Ctrl-C twice: it ends at once, and can be gone on with', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  way.proxy.use({ fault: { do: 'stall', in: 'request', after: megabyte }, method: 'PATCH', nth: 3 });
  const running = startAirlift(way.arguments(largeBundle, '--chunk-size', '2Mi'), { env: way.env });
  await until('a chunk is held', () =>
    way.proxy.log.requests.some(({ faults, received }) => faults.length > 0 && received > 0),
  );
  running.send('SIGINT');
  await until('the first signal is noticed', () => running.stderr().includes('stopping'));
  running.send('SIGINT');
  assert.equal((await running.ended).code, 130);
  await letGo(way);
  const isLarge = ({ received }: LoggedRequest): boolean => received > 5000;
  const before = way.proxy.log
    .find('PATCH')
    .filter(isLarge)
    .reduce((sum, { received }) => sum + received, 0);
  await hasTaken(way, before);
  const sent = await way.again(largeBundle, '--chunk-size', '2Mi');
  assert.ok(sent < largeBlob.size - before + 5000, `sent ${sent} bytes, ${before} were there`);
  sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
});

describe('with docker-registry', { skip: needs('docker-registry') }, () => {
  test('killed between two chunks: the next run sends the chunks that are missing', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const way = await wayTo(t, server.host);
    const flags = ['--chunk-size', '4Mi', '-j', '1'];
    const chunk = 4 * 1024 * 1024;
    const isChunk = ({ received }: LoggedRequest): boolean => received === chunk;
    way.proxy.use({ fault: { do: 'stall', in: 'request', after: 0 }, method: 'PATCH', nth: 5 });
    const running = startAirlift(way.arguments(largeBundle, ...flags), { env: way.env });
    await killWhen(running, () => way.proxy.log.requests.some(({ faults }) => faults.length > 0));
    const before = way.proxy.log.find('PATCH').filter(isChunk).length;
    assert.ok(before >= 3);
    await letGo(way);
    const sent = await way.again(largeBundle, ...flags);
    assert.ok(sent < largeBlob.size - before * chunk + 5000, `sent ${sent} bytes after ${before} chunks`);
    sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
  });

  test('killed within a chunk, which it does not go on with: the next run sends all of it', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const way = await wayTo(t, server.host);
    way.proxy.use({
      fault: { do: 'stall', in: 'request', after: 10 * megabyte },
      path: new RegExp(`digest=${encodeURIComponent(largeBlob.digest)}`),
    });
    const running = startAirlift(way.arguments(largeBundle), { env: way.env });
    await killWhen(running, () => way.proxy.log.requests.some(({ faults }) => faults.length > 0));
    await letGo(way);
    await way.again(largeBundle);
    assert.deepEqual(readdirSync(way.uploads), []);
    sameContent((await walkRegistry(way.host, 'team/large', '1')).content, await walkImage(large));
  });
});

test('--atomic: no tag before all images are there, all of them after', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  const config = [...(several['team/two']?.blobs.keys() ?? [])].at(-1) ?? '';
  way.proxy.use({
    fault: { do: 'answer', status: 403 },
    method: 'PUT',
    path: new RegExp(`digest=${encodeURIComponent(config)}`),
  });
  const failed = await airlift(way.arguments(severalBundle, '--atomic'), { env: way.env, codes: [1] });
  assert.match(failed.stderr, /403/);
  for (const name of Object.keys(several)) assert.deepEqual(await tagsOf(way.host, name), []);
  await way.again(severalBundle, '--atomic');
  const isTag = ({ method, target }: LoggedRequest): boolean =>
    method === 'PUT' && target.endsWith('/manifests/1');
  const puts = way.proxy.log.requests.filter(({ method }) => method === 'PUT');
  assert.ok(puts.slice(-Object.keys(several).length).every(isTag));
  assert.equal(puts.filter(isTag).length, Object.keys(several).length);
  await isWhole(way.host);
});

test('copy --atomic: no tag before all images are there, all of them after', async (t) => {
  const source = await serveStore(t);
  for (const [name, image] of Object.entries(several)) await pushImage(source, name, '1', image);
  const way = await wayTo(t, await serveStore(t));
  const names = Object.keys(several).map((name) => `${source}/${name}:1`);
  const copying = ['copy', ...names, '--to', way.proxy.host, '--atomic', '--quiet'];
  way.proxy.use({ fault: { do: 'answer', status: 403 }, method: 'PUT', path: /team\/three\/blobs/ });
  await airlift(copying, { env: way.env, codes: [1] });
  for (const name of Object.keys(several)) assert.deepEqual(await tagsOf(way.host, name), []);
  way.proxy.heal();
  await airlift(copying, { env: way.env });
  await isWhole(way.host);
});

test('--atomic with --keep-going is refused', async (t) => {
  const way = await wayTo(t, await serveStore(t));
  const { stderr } = await airlift(way.arguments(severalBundle, '--atomic', '--keep-going'), { codes: [2] });
  assert.match(stderr, /--atomic and --keep-going contradict each other/);
});

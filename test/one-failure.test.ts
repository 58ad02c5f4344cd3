/** A failure or an interruption ends concurrent work, without effect on requests to other registries. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test, type TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { copyImages } from '../src/copy.js';
import { ManifestCache } from '../src/plan/manifest-cache.js';
import { ociIndex } from '../src/oci/media-types.js';
import { readContent } from '../src/oci/read.js';
import { Planner } from '../src/plan/planner.js';
import { Registry } from '../src/registry/registry.js';
import { allLinked, forEachOf } from '../src/concurrency.js';
import { resumingSource } from '../src/transfer/resuming-source.js';
import { testClient } from './registry/client.js';
import { collect, content, opener, smallImage, type Content } from './registry/content.js';
import { serveContent } from './registry/content-server.js';
import { sendFault, startOddServer, type OddServer } from './registry/odd-server.js';
import { airlift } from './support/airlift.js';
import { startAirlift } from './support/started.js';
import { serveStore } from './support/serve-store.js';
import type { Cleanup } from './support/temp.js';
import { until } from './support/until.js';

/** Returns an index of three images, the first of which no registry has. */
function withLostChild(): { index: Content; lost: Content; others: Content[]; manifests: Content[] } {
  const images = ['lost', 'slow', 'slower'].map((name) => smallImage(name));
  const [lost, ...rest] = images.map(({ manifest }) => manifest);
  assert.ok(lost !== undefined);
  const index = content(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: images.map(({ manifest }, at) => ({
        ...manifest.descriptor,
        platform: { os: 'linux', architecture: ['amd64', 'arm64', 's390x'][at] },
      })),
    }),
    ociIndex,
  );
  return {
    index,
    lost,
    others: images.slice(1).flatMap(({ config, layer }) => [config, layer]),
    manifests: rest,
  };
}

/** Starts a registry that lacks one child of an index and responds with 503 to requests for the others. */
async function startLossy(t: Cleanup): Promise<{ source: OddServer; lost: Content }> {
  const { index, lost, manifests } = withLostChild();
  const slow = new Set<string>(manifests.map(({ descriptor }) => descriptor.digest));
  const source = await serveContent(t, [index], index, ({ name: digest }, response) => {
    if (!slow.has(digest)) return false;
    response.writeHead(503, { 'retry-after': '100' }).end();
    return true;
  });
  return { source, lost };
}

test('copy: a missing child of an index stops the other requests and the process', async (t) => {
  const { source, lost } = await startLossy(t);
  const site = await serveStore(t);
  const begun = performance.now();
  const { code, stderr } = await airlift(['copy', `${source.host}/app:1`, '--to', site], {
    codes: [1],
    timeout: 60_000,
  });
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(lost.descriptor.digest));
  assert.ok(performance.now() - begun < 30_000, `took ${Math.round(performance.now() - begun)} ms`);
});

test('copy: after such a failure the library sends no further request', async (t) => {
  const { source } = await startLossy(t);
  const site = await serveStore(t);
  const reference = { registry: source.host, repository: 'app', tag: '1' };
  await assert.rejects(
    copyImages({ images: [{ reference }], to: { registry: site, keepRegistry: false }, registry: {} }),
    { code: 'not-found' },
  );
});

test('allLinked aborts concurrent work after a failure and throws the first failure', async () => {
  const failure = new Error('the first');
  const ended: string[] = [];
  const waiting = (signal: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) =>
      signal.addEventListener('abort', () => {
        ended.push('beside');
        reject(signal.reason as Error);
      }),
    );
  await assert.rejects(
    allLinked(['bad', 'good', 'good'], undefined, (item, signal) =>
      item === 'bad' ? Promise.reject(failure) : waiting(signal),
    ),
    failure,
  );
  assert.deepEqual(ended, ['beside', 'beside']);
});

test('forEachOf waits for running work when its iterator throws, and takes no item after a failure', async () => {
  let isDone = false;
  const broken = function* (): Generator<number> {
    yield 1;
    throw new Error('broken list');
  };
  const work = async (): Promise<void> => {
    await new Promise(setImmediate);
    isDone = true;
  };
  await assert.rejects(forEachOf(broken(), 2, work), { message: 'broken list' });
  assert.equal(isDone, true);
  const taken: number[] = [];
  const failing = async (item: number): Promise<void> => {
    taken.push(item);
    await Promise.reject(new Error('no'));
  };
  await assert.rejects(forEachOf([1, 2, 3], 1, failing), { message: 'no' });
  assert.deepEqual(taken, [1]);
});

test('forEachOf frees finished items while one of them takes long', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  let release: () => void = () => undefined;
  const long = new Promise<void>((done) => (release = done));
  let used = 0;
  const measure = (): number => {
    gc();
    return process.memoryUsage().heapUsed;
  };
  const before = measure();
  await forEachOf(
    (function* () {
      for (let at = 0; at < 50_000; at++) yield at;
    })(),
    4,
    async (at) => {
      if (at === 0) return long;
      if (at < 49_999) return;
      used = measure() - before;
      release();
    },
  );
  // Keeping a promise for each item would take more than 10 MB.
  assert.ok(used < 4 * 1024 * 1024, `${used} bytes`);
});

interface TwoRegistries {
  readonly registry: Registry;
  readonly sick: { registry: string; repository: string };
  readonly healthy: { registry: string; repository: string };
  readonly image: ReturnType<typeof smallImage>;
}

/** Starts two registries with the same image; one delays each read of a manifest by digest, and then responds with 404. */
async function startTwo(t: TestContext): Promise<TwoRegistries> {
  const image = smallImage('shared');
  const held = [image.layer, image.config, image.manifest, image.index];
  const sick = await serveContent(t, held, image.index, ({ name: digest, method }, response) => {
    if (!digest.startsWith('sha256:') || method === 'HEAD') return false;
    // The pause lets the same read from the other registry start before this one fails.
    setTimeout(() => sendFault(response, 404, 'MANIFEST_UNKNOWN'), 300);
    return true;
  });
  const healthy = await serveContent(t, held, image.index);
  const { registry } = testClient(t);
  return {
    registry,
    sick: { registry: sick.host, repository: 'a' },
    healthy: { registry: healthy.host, repository: 'a' },
    image,
  };
}

test('a digest that one registry lacks is planned from another that has it, during a shared read too', async (t) => {
  const { registry, sick, healthy } = await startTwo(t);
  const blobs: string[] = [];
  const sink = {
    has: () => false,
    addBlob: ({ descriptor }: { descriptor: { digest: string } }) => void blobs.push(descriptor.digest),
    addManifest: () => undefined,
  };
  const planner = new Planner(registry, sink, { platforms: [{ os: 'linux', architecture: 'amd64' }] });
  const results = await Promise.allSettled(
    [sick, healthy].map((place) => planner.plan({ reference: { ...place, tag: '1' } })),
  );
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
  assert.equal(blobs.length, 2);
});

test('copy reads a manifest from its own registry, even if another one lacks it', async (t) => {
  const { registry, sick, healthy, image } = await startTwo(t);
  const cache = new ManifestCache(registry);
  const [bad, good] = await Promise.allSettled(
    [sick, healthy].map((place) => readContent(cache, place, image.manifest.descriptor)),
  );
  assert.equal(bad?.status, 'rejected');
  assert.ok(good?.status === 'fulfilled' && good.value.equals(image.manifest.bytes));
});

/** Aborts a call after its first request, and returns the milliseconds until the call ends. */
async function stopping(server: OddServer, call: (signal: AbortSignal) => Promise<unknown>): Promise<number> {
  const stop = new AbortController();
  const running = call(stop.signal);
  running.catch(() => undefined);
  await until('a request comes in', () => server.seen.length > 0);
  const begun = performance.now();
  stop.abort();
  await assert.rejects(running, { code: 'interrupted' });
  server.seen.length = 0;
  return performance.now() - begun;
}

test('a Retry-After of minutes ends on an interruption, in every call', async (t) => {
  const { manifest, layer } = smallImage('later');
  const server = await startOddServer(t, (_request, response) => {
    response.writeHead(503, { 'retry-after': '200' }).end();
  });
  const { registry } = testClient(t);
  const name = { registry: server.host, repository: 'a' };
  const push = (one: Content, signal: AbortSignal): Promise<unknown> =>
    registry.push(name, one.descriptor, opener(one.bytes), { signal });
  const calls: ((signal: AbortSignal) => Promise<unknown>)[] = [
    (signal) => registry.resolve({ ...name, tag: '1' }, { signal }),
    (signal) => registry.exists(name, manifest.descriptor, { signal }),
    (signal) => registry.exists(name, layer.descriptor, { signal }),
    (signal) => registry.fetch(name, layer.descriptor, { signal }),
    (signal) => registry.tag({ ...name, tag: '1' }, manifest.descriptor, opener(manifest.bytes), { signal }),
    (signal) => push(manifest, signal),
    (signal) => push(layer, signal),
    (signal) => registry.checkLogin(server.host, { signal }),
    (signal) => resumingSource(registry, 3, signal).fetch(name, layer.descriptor),
  ];
  for (const [at, call] of calls.entries()) {
    const took = await stopping(server, call);
    assert.ok(took < 20_000, `call ${at} went on for ${Math.round(took)} ms`);
  }
});

test('connecting ends on an interruption and with the client, and keeps no process alive', async (t) => {
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => void silent.close());
  const { port } = silent.address() as { port: number };
  const registry = new Registry({ plainHttp: false });
  t.after(() => registry.close());
  const stop = new AbortController();
  const resolving = registry.resolve(
    { registry: `127.0.0.1:${port}`, repository: 'a', tag: '1' },
    { signal: stop.signal },
  );
  const [socket] = (await once(silent, 'connection')) as [import('node:net').Socket];
  const closed = once(socket, 'close');
  socket.on('error', () => undefined).resume();
  stop.abort();
  await assert.rejects(resolving, { code: 'interrupted' });
  await registry.close();
  await closed;
  await assert.rejects(registry.resolve({ registry: `127.0.0.1:${port}`, repository: 'a', tag: '1' }), {
    code: 'interrupted',
  });
});

test('copy: Ctrl-C ends within a second while a registry asks to wait, with what to do next', async (t) => {
  const { layer, config, manifest, index } = smallImage('stopped');
  const asked: string[] = [];
  const source = await serveContent(
    t,
    [config, manifest, index],
    index,
    ({ name: digest, method }, response) => {
      if (digest !== layer.descriptor.digest) return false;
      asked.push(method);
      response.writeHead(429, { 'retry-after': '200' }).end();
      return true;
    },
  );
  const site = await serveStore(t);
  const run = startAirlift(['copy', `${source.host}/app:1`, '--to', site]);
  await until('the layer is requested', () => asked.length > 0);
  const begun = performance.now();
  run.send('SIGINT');
  const { code, stderr } = await run.ended;
  assert.equal(code, 130);
  assert.ok(performance.now() - begun < 10_000, `took ${Math.round(performance.now() - begun)} ms`);
  assert.match(stderr, /hint: run the same command again/);
  assert.doesNotMatch(stderr, /\n +at /);
});

test('a resuming stream passes all content on; its reader verifies', async (t) => {
  const { layer, config, manifest, index } = smallImage('steady');
  const source = await serveContent(t, [layer, config, manifest, index], index);
  const { registry } = testClient(t);
  const resuming = resumingSource(registry, 3);
  const stream = await resuming.fetch({ registry: source.host, repository: 'a' }, layer.descriptor);
  assert.deepEqual(await collect(stream), layer.bytes);
});

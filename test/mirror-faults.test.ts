/** Mirrors that serve wrong content, break off or do not respond, and an unreachable registry behind a mirror. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readContent } from '../src/oci/read.js';
import { findCompanions } from '../src/plan/referrers.js';
import type { MirrorRule } from '../src/registry/config/options.js';
import { MirrorReader } from '../src/registry/api/mirror-reader.js';
import { AirliftError } from '../src/errors.js';
import { saveImages } from '../src/save/save.js';
import { resumingSource } from '../src/transfer/resuming-source.js';
import { transferBlob, type Place } from '../src/transfer/transfer.js';
import { readableOf } from '../src/oci/readable.js';
import { testClient, type TestClient } from './registry/client.js';
import { collect, smallImage } from './registry/content.js';
import { sendFault, startOddServer, type Handler, type OddServer } from './registry/odd-server.js';
import { temp, type Cleanup } from './support/temp.js';

const image = smallImage('mirrored', Buffer.alloc(100_000, 'layer'));

/** Serves the image; with `corrupt`, blobs have wrong bytes of the right length. */
function serving(spoil: 'nothing' | 'corrupt' | 'cut' = 'nothing'): Handler {
  const { index, manifest, layer, config } = image;
  const byName = new Map(
    [index, manifest, layer, config].map((one) => [one.descriptor.digest as string, one]),
  );
  byName.set('1', index);
  return (request, response, url) => {
    const one = byName.get(url.pathname.split('/').at(-1) ?? '');
    if (one === undefined) return sendFault(response, 404, 'NOT_FOUND');
    const isBlob = url.pathname.includes('/blobs/');
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const bytes = isBlob && spoil === 'corrupt' ? Buffer.alloc(one.bytes.length, 'x') : one.bytes;
    const size = one.bytes.length;
    response.writeHead(from > 0 ? 206 : 200, {
      'content-type': one.descriptor.mediaType,
      'docker-content-digest': one.descriptor.digest,
      'content-length': size - from,
      ...(from > 0 ? { 'content-range': `bytes ${from}-${size - 1}/${size}` } : {}),
    });
    if (request.method === 'HEAD') return void response.end();
    if (!isBlob || spoil !== 'cut') return void response.end(bytes.subarray(from));
    // Every response breaks off at the same byte.
    response.write(bytes.subarray(from, Math.max(from, 1000)), () => response.destroy());
  };
}

/** Accepts connections and stays silent, like a firewall that drops packets before the TLS handshake. */
async function startSilent(t: Cleanup): Promise<{ host: string; connections: () => number }> {
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections++;
    socket.on('error', () => undefined);
    t.after(() => void socket.destroy());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => void server.close());
  return { host: `127.0.0.1:${(server.address() as { port: number }).port}`, connections: () => connections };
}

interface Setup {
  readonly client: TestClient;
  readonly upstream: OddServer;
  readonly name: { registry: string; repository: string };
}

async function start(t: TestContext, mirrors: MirrorRule['mirrors']): Promise<Setup> {
  const upstream = await startOddServer(t, serving());
  const rule = { prefix: upstream.host, mirrors, origin: 'test' };
  const client = testClient(t, { mirrors: [rule], idleTimeout: 500 });
  return { client, upstream, name: { registry: upstream.host, repository: 'a' } };
}

/** A Place in memory. */
function memory(size: number): Place & { readonly bytes: Buffer } {
  const bytes = Buffer.alloc(size);
  return {
    bytes,
    write: (chunks, offset) => {
      let at = offset;
      for (const chunk of chunks) {
        bytes.set(chunk, at);
        at += chunk.byteLength;
      }
    },
    read: (length) => readableOf(bytes.subarray(0, length)),
  };
}

for (const spoil of ['corrupt', 'cut'] as const) {
  test(`a blob that mirrors serve ${spoil} is fetched from the next mirror, then from the registry`, async (t) => {
    const mirrors = await Promise.all([spoil, spoil].map((how) => startOddServer(t, serving(how))));
    const locations = mirrors.map(({ host }) => ({ location: host }));
    const { client, upstream, name } = await start(t, locations);
    const { descriptor, bytes } = image.layer;
    const place = memory(descriptor.size);
    const options = { retries: 1, retryDelay: 1, onProgress: () => undefined };
    await transferBlob(client.registry, place, { repository: name, descriptor, have: 0 }, options);
    assert.deepEqual(place.bytes, bytes);
    for (const { seen } of [...mirrors, upstream]) assert.ok(seen.some(({ url }) => url.includes('/blobs/')));
  });

  test(`a config that a mirror serves ${spoil} is fetched from the registry`, async (t) => {
    const mirror = await startOddServer(t, serving(spoil));
    const { client, name } = await start(t, [{ location: mirror.host }]);
    const { descriptor, bytes } = image.config;
    // A body of less than a kilobyte is complete before the cut.
    if (spoil === 'corrupt') assert.deepEqual(await readContent(client.registry, name, descriptor), bytes);
    else assert.equal((await readContent(client.registry, name, descriptor)).length, bytes.length);
  });
}

test('copy: a blob that a mirror always breaks off at the same byte is fetched from the registry', async (t) => {
  const mirror = await startOddServer(t, serving('cut'));
  const { client, name } = await start(t, [{ location: mirror.host }]);
  const stream = await resumingSource(client.registry, 2).fetch(name, image.layer.descriptor);
  assert.deepEqual(await collect(stream), image.layer.bytes);
});

test('save: a config that a mirror serves corrupt is fetched from the registry', async (t) => {
  const isLayer = (url: URL): boolean => url.pathname.endsWith(image.layer.descriptor.digest);
  const mirror = await startOddServer(t, (request, response, url) =>
    serving(isLayer(url) ? 'nothing' : 'corrupt')(request, response, url),
  );
  const { upstream, name } = await start(t, []);
  const rule = { prefix: upstream.host, mirrors: [{ location: mirror.host }], origin: 'test' };
  const output = join(temp(t), 'layout');
  await saveImages({
    from: { references: [{ ...name, tag: '1' }], registry: { mirrors: [rule], retries: 0 } },
    format: 'oci-layout',
    output,
  });
  const { digest } = image.config.descriptor;
  assert.deepEqual(readFileSync(join(output, 'blobs', digest.replace(':', '/'))), image.config.bytes);
});

test('a mirror that accepts no connection costs one short wait, and is skipped afterwards', async (t) => {
  const silent = await startSilent(t);
  const { client, name } = await start(t, [{ location: silent.host, scheme: 'https' }]);
  const begun = performance.now();
  for (let at = 0; at < 5; at++) await client.registry.resolve({ ...name, tag: '1' });
  assert.deepEqual(
    await collect(await client.registry.fetch(name, image.layer.descriptor)),
    image.layer.bytes,
  );
  assert.equal(silent.connections(), 1);
  assert.ok(performance.now() - begun < 5000, `took ${Math.round(performance.now() - begun)} ms`);
  assert.equal(client.warnings.length, 1);
});

test('an endpoint that stays down is skipped for longer each time, until it responds again', async () => {
  let now = 0;
  const mirror = { origin: 'http://mirror.test', isMirror: true };
  const own = { origin: 'http://own.test', isMirror: false };
  const book = { forReading: () => Promise.resolve([mirror, own]) };
  const tell = { warn: () => undefined, note: () => undefined };
  const reader = new MirrorReader(book as never, tell, () => now);
  let attempts = 0;
  let isDown = true;
  const read = (): Promise<string> =>
    reader.readFirst({ registry: 'r.test', repository: 'a' }, { lookup: 'tag' }, ({ isMirror }) => {
      if (!isMirror) return Promise.resolve('own');
      attempts++;
      return isDown ? Promise.reject(new AirliftError('network', 'down')) : Promise.resolve('mirror');
    });
  const times: number[] = [];
  for (; now < 1_000_000; now += 10_000) {
    const before = attempts;
    await read();
    if (attempts > before) times.push(now / 1000);
  }
  assert.deepEqual(times, [0, 60, 180, 420, 900]);
  isDown = false;
  now = 10_000_000;
  assert.equal(await read(), 'mirror');
  isDown = true;
  assert.equal(await read(), 'own');
  now += 60_000;
  const before = attempts;
  await read();
  assert.equal(attempts, before + 1);
});

test('guesses are answered by the mirror while the registry is unreachable', async (t) => {
  const mirror = await startOddServer(t, serving());
  const silent = await startSilent(t);
  const rule = {
    prefix: 'gone.test',
    location: silent.host,
    mirrors: [{ location: `${mirror.host}`, scheme: 'http' as const }],
    origin: 'test',
  };
  const { registry, warnings } = testClient(t, { mirrors: [rule], idleTimeout: 500, retries: 5 });
  const name = { registry: 'gone.test', repository: 'a' };
  const secure = testClient(t, { mirrors: [rule], idleTimeout: 500, plainHttp: false });
  for (const client of [registry, secure.registry]) {
    const begun = performance.now();
    const root = await client.resolve({ ...name, tag: '1' });
    assert.equal(root.digest, image.index.descriptor.digest);
    const digests = [root.digest, image.manifest.descriptor.digest];
    assert.deepEqual(await findCompanions(client, name, digests), []);
    for (const digest of digests)
      for await (const found of client.referrers(name, digest)) assert.fail(`found ${found.digest}`);
    assert.ok(performance.now() - begun < 10_000, `took ${Math.round(performance.now() - begun)} ms`);
  }
  assert.ok(warnings.some((text) => text.includes('signatures that only this registry has are omitted')));
});

test('a mirror for digests only: guesses to an unreachable registry cost one short wait', async (t) => {
  const mirror = await startOddServer(t, serving());
  const silent = await startSilent(t);
  const mirrors = [{ location: mirror.host, scheme: 'http', serves: 'digests' }] as const;
  const rule = { prefix: 'gone.test', location: silent.host, mirrors, origin: 'test' };
  const { registry } = testClient(t, { mirrors: [rule], idleTimeout: 500, plainHttp: false, retries: 5 });
  const name = { registry: 'gone.test', repository: 'a' };
  const begun = performance.now();
  const { digest } = image.index.descriptor;
  assert.equal((await registry.resolve({ ...name, digest })).digest, digest);
  const warnings: string[] = [];
  const digests = [digest, image.manifest.descriptor.digest];
  for (const subject of digests)
    assert.deepEqual(
      await findCompanions(registry, name, [subject], { warn: (text) => void warnings.push(text) }),
      [],
    );
  assert.ok(performance.now() - begun < 10_000, `took ${Math.round(performance.now() - begun)} ms`);
  assert.ok(silent.connections() <= 3);
  assert.match(warnings[0] ?? '', /^left out signatures of gone\.test\/a/);
});

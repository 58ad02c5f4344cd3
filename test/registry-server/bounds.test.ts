import assert from 'node:assert/strict';
import { once } from 'node:events';
import { open, readdir } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf } from '../../src/oci/digest.js';
import { createRegistryServer, type ServerOptions } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';
import { beginDownload, readBody } from '../support/download.js';
import { until } from '../support/until.js';
import {
  asker,
  imageOf,
  pushBlob,
  pushManifest,
  startRegistry,
  temporaryFolder,
  type RunningRegistry,
} from './fixture.js';

interface Pulled {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

const limit = { timeout: 60_000 };

/** Larger than what the sockets between server and client hold. */
const large = Buffer.alloc(24_000_000, 'x');

/** A registry that holds one large blob in the repository `a`. */
async function withLargeBlob(
  t: TestContext,
  options: ServerOptions,
): Promise<{ registry: RunningRegistry; url: string }> {
  const registry = await startRegistry(t, options);
  await pushBlob(registry, 'a', large);
  return { registry, url: `${registry.url}/v2/a/blobs/${digestOf(large)}` };
}

/** Connects and sends `text`. */
async function connected(t: TestContext, url: string, text = ''): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  if (text !== '') socket.write(text);
  return socket;
}

/** Waits until the server has closed a connection. */
async function closeOf(socket: Socket): Promise<void> {
  if (!socket.resume().destroyed) await once(socket, 'close');
}

/** Begins a download and reads nothing of its body. */
async function stalled(t: TestContext, url: string): Promise<IncomingMessage> {
  const response = await beginDownload(url);
  t.after(() => response.destroy());
  response.on('error', () => undefined);
  return response;
}

test(
  'requests over the bound of one address get 503 with Retry-After, and the others are answered',
  limit,
  async (t) => {
    const { url, registry } = await withLargeBlob(t, { limits: { requestsOfClient: 3 } });
    const downloads = await Promise.all([1, 2, 3].map(() => stalled(t, url)));
    assert.deepEqual(
      downloads.map(({ statusCode }) => statusCode),
      [200, 200, 200],
    );
    const refused = await fetch(`${registry.url}/v2/`);
    assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '5']);
    downloads[0]?.destroy();
    // The server learns of the end by its socket.
    while ((await fetch(`${registry.url}/v2/`)).status !== 200)
      await new Promise((done) => setImmediate(done));
  },
);

test('requests over the bound of the whole server get 503', limit, async (t) => {
  const { url, registry } = await withLargeBlob(t, { limits: { requests: 2 } });
  await Promise.all([1, 2].map(() => stalled(t, url)));
  assert.equal((await fetch(`${registry.url}/v2/`)).status, 503);
});

test(
  'idle connections over the bound close the longest idle one, and none that has a request',
  limit,
  async (t) => {
    const { url, registry } = await withLargeBlob(t, { limits: { idleOfClient: 50 } });
    const download = await stalled(t, url);
    const sockets: Socket[] = [];
    for (let count = 0; count < 200; count++) sockets.push(await connected(t, url));
    const closed = sockets.slice(0, 150);
    await Promise.all(closed.map(closeOf));
    assert.ok(sockets.slice(150).every((socket) => !socket.destroyed));
    assert.equal(digestOf(await readBody(download)), digestOf(large));
    assert.equal((await fetch(`${registry.url}/v2/`)).status, 200);
  },
);

test('a head of more than 16 KiB is refused with 431, a smaller one is answered', limit, async (t) => {
  const { url } = await startRegistry(t);
  const statusWith = async (bytes: number): Promise<number> =>
    (await fetch(`${url}/v2/`, { headers: { 'X-Large': 'x'.repeat(bytes) } })).status;
  assert.equal(await statusWith(15_000), 200);
  assert.equal(await statusWith(17_000), 431);
});

test('a connection that sends no request, or stays idle after one, is closed', limit, async (t) => {
  const { url } = await startRegistry(t, { limits: { idleTimeout: 2000 } });
  const silent = await connected(t, url);
  const idle = await connected(t, url, 'GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n');
  const [answer] = (await once(idle, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200/);
  await Promise.all([silent, idle].map(closeOf));
});

for (const [name, interval] of [
  ['sends nothing', undefined],
  ['sends a byte now and then', 50],
] as const) {
  test(`an upload whose client ${name} is dropped within little more than the period`, limit, async (t) => {
    const period = 800;
    const registry = await startRegistry(t, { stallTimeout: period });
    const location = (await registry.ask('POST', 'a/blobs/uploads/')).headers.get('location');
    assert.ok(location !== null);
    const { pathname, search } = new URL(location, registry.url);
    const head = `PATCH ${pathname}${search} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n`;
    const upload = await connected(t, registry.url, head);
    const begun = performance.now();
    const dripping = setInterval(() => upload.write('x'), interval ?? 2 ** 30);
    t.after(() => clearInterval(dripping));
    upload.resume();
    await once(upload, 'close');
    const took = performance.now() - begun;
    assert.ok(took > 0.9 * period, `dropped after ${took} ms`);
    // What was received stays, and the upload can be resumed.
    const status = await registry.ask('GET', location);
    assert.equal(status.status, 204);
  });
}

test('a large blob that was damaged in the directory is never sent whole', limit, async (t) => {
  const directory = join(await temporaryFolder(t), 'store');
  const errors: string[] = [];
  const server = createRegistryServer(await DirectoryStore.open(directory), {
    onError: ({ code }) => errors.push(code),
  });
  const { url } = await server.listen('127.0.0.1', 0);
  t.after(() => server.close());
  const digest = digestOf(large);
  await fetch(`${url}/v2/a/blobs/uploads/?digest=${digest}`, { method: 'POST', body: large });
  const folder = join(directory, 'blobs', 'sha256');
  assert.deepEqual(await readdir(folder), [digest.slice(7)]);
  const file = await open(join(folder, digest.slice(7)), 'r+');
  await file.write('damage', large.length - 6);
  await file.close();
  const response = await stalled(t, `${url}/v2/a/blobs/${digest}`);
  assert.equal(response.statusCode, 200);
  await assert.rejects(readBody(response));
  // The client may see the end of the connection first.
  await until('the error is reported', () => errors.length > 0);
  assert.deepEqual(errors, ['digest-mismatch']);
});

test('draining lets a client pause for over two seconds between two layers of a pull', limit, async (t) => {
  const directory = join(await temporaryFolder(t), 'store');
  const server = createRegistryServer(await DirectoryStore.open(directory));
  const { url } = await server.listen('127.0.0.1', 0);
  t.after(() => server.close());
  const registry: RunningRegistry = { url, directory, ask: asker(url) };
  const image = await imageOf(registry, 'a', 'paused');
  await pushManifest(registry, 'a', '1', image);
  const { config, layers } = (await (await registry.ask('GET', 'a/manifests/1')).json()) as Pulled;
  assert.equal((await registry.ask('GET', `a/blobs/${config.digest}`)).status, 200);
  const drained = server.drain();
  // Longer than draining waits where no pull is open.
  await sleep(2500);
  const [layer] = layers;
  const last = await registry.ask('GET', `a/blobs/${layer?.digest}`);
  assert.equal(digestOf(Buffer.from(await last.arrayBuffer())), layer?.digest);
  const before = performance.now();
  await drained;
  assert.ok(performance.now() - before < 5000, 'a pull that has all of its layers is not waited for');
});

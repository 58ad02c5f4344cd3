import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { serve } from '../../src/serve/serve.js';
import { airlift } from '../support/airlift.js';
import { makeAuthority } from '../support/certificates.js';
import { env, startExportSetup } from '../support/exporting.js';
import { failing, startFaultProxy, type Rule } from '../support/faults.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';

const image = singlePlatform('linux/amd64', { name: 'app', bigBytes: 1_000_000 });
const layer = [...image.blobs.values()].find(({ size }) => size > 500_000)?.digest ?? '';
const quick = ['--retry-delay', '20ms', '--retries', '6'];

async function listening(t: Cleanup, server: Server, port = 0): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  });
  return (server.address() as AddressInfo).port;
}

/** Pipes a connection to a port. */
function joinTo(socket: Socket, port: number): void {
  const up = connect(port, '127.0.0.1');
  socket.on('error', () => up.destroy()).on('close', () => up.destroy());
  up.on('error', () => socket.destroy()).on('close', () => socket.destroy());
  socket.pipe(up).pipe(socket);
}

async function registryWithImage(t: Cleanup): Promise<number> {
  const registry = await serve({ store: join(temp(t), 'store') }, { port: 0 });
  t.after(() => registry.close());
  await pushImage(`${registry.host}:${registry.port}`, 'acme/app', '1', image);
  return registry.port;
}

test('transient faults of every request are retried successfully', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('app', image);
  const args = [...setup.names('app'), ...quick, '--idle-timeout', '1s'];
  const want = await setup.undisturbed(...args);
  const [whole, manifests, blobs] = [/\/v2\//, /\/manifests\//, new RegExp(`/blobs/${layer}`)];
  const faults: Record<string, readonly Rule[]> = {
    'a reset before the answer': [
      { fault: { do: 'reset', in: 'request', after: 0 }, path: whole, nth: [1, 2, 4] },
    ],
    'a reset in a manifest': [{ fault: { do: 'reset', after: 20 }, path: manifests, nth: [1, 3] }],
    'a manifest that ends early': [{ fault: { do: 'truncate', after: 30 }, path: manifests, nth: [1, 2] }],
    'a manifest that stalls': [{ fault: { do: 'stall', after: 10 }, path: manifests, nth: 1 }],
    'a manifest with a flipped bit': [
      { fault: { do: 'flip', at: 11 }, method: 'GET', path: manifests, times: 1 },
    ],
    'a blob that ends early, thrice': [{ fault: { do: 'truncate', after: 300_000 }, path: blobs, times: 3 }],
    'a blob that stalls': [{ fault: { do: 'stall', after: 300_000 }, path: blobs, times: 1 }],
    'a blob with a flipped bit': [{ fault: { do: 'flip', at: 500_000 }, path: blobs, times: 1 }],
    '500, 502, 503 and 504': [500, 502, 503, 504].map((status, at) => ({
      ...{ fault: failing(status), path: whole, nth: [at + 1, 2 * at + 6] },
    })),
  };
  for (const [name, rules] of Object.entries(faults)) {
    setup.proxy.heal();
    setup.proxy.log.clear();
    setup.proxy.use(...rules);
    const output = join(temp(t), 'site.tar');
    await airlift(['export', ...args, '-o', output], { env });
    assert.ok(
      setup.proxy.log.requests.some(({ faults: met }) => met.length > 0),
      name,
    );
    assert.ok(readFileSync(output).equals(want), name);
  }
});

test('permanent errors are not retried and are reported clearly', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('app', image);
  const cases = [
    [401, /unauthorized/],
    [403, /denied|forbidden/i],
    [404, /not found/],
  ] as const;
  for (const [status, message] of cases) {
    for (const part of ['manifests', 'blobs'] as const) {
      setup.proxy.heal();
      setup.proxy.log.clear();
      setup.proxy.use({ fault: failing(status), path: new RegExp(`/${part}/`) });
      const output = join(temp(t), 'site.tar');
      const { stderr } = await airlift(['export', ...setup.names('app'), ...quick, '-j', '1', '-o', output], {
        env,
        codes: [1],
      });
      assert.match(stderr, message, `${status} for ${part}`);
      const times = new Map<string, number>();
      for (const { method, target } of setup.proxy.log.requests.filter((entry) => entry.status === status))
        times.set(`${method} ${target}`, (times.get(`${method} ${target}`) ?? 0) + 1);
      assert.ok(times.size > 0);
      for (const [request, count] of times) assert.equal(count, 1, `${request} sent ${count} times`);
    }
  }
});

test('content that is wrong twice is not requested a third time, and the error names its registry', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('app', image);
  setup.proxy.use({ fault: { do: 'flip', at: 1000 }, path: new RegExp(`/blobs/${layer}`) });
  const output = join(temp(t), 'site.tar');
  const args = ['export', ...setup.names('app'), ...quick, '-o', output];
  const { stderr } = await airlift(args, { env, codes: [1] });
  assert.match(
    stderr,
    new RegExp(`fetch blob ${layer} of ${setup.proxy.host}/acme/app: wrong content twice`),
  );
  assert.match(stderr, /hint: the content in .*, or in a proxy in front of it, is damaged/);
  assert.equal(setup.proxy.log.find('GET', new RegExp(`/blobs/${layer}`)).length, 2);
});

test('the error of an unknown host names it', async (t) => {
  const output = join(temp(t), 'site.tar');
  const args = ['export', 'registry.invalid/acme/app:1', ...quick, '-o', output];
  const { stderr } = await airlift(args, { env, codes: [1] });
  assert.match(stderr, /(host not found|can't be looked up now): registry\.invalid/);
  assert.match(stderr, /hint: run the same command again/);
});

test('an export waits for a registry that refuses connections for a while', async (t) => {
  const upstream = await registryWithImage(t);
  const holder = createServer();
  const port = await new Promise<number>((done) =>
    holder.listen(0, '127.0.0.1', () => done((holder.address() as AddressInfo).port)),
  );
  await new Promise((done) => holder.close(done));
  const output = join(temp(t), 'site.tar');
  const args = ['export', `127.0.0.1:${port}/acme/app:1`, '-o', output, '--retry-delay', '3s'];
  const run = startAirlift([...args, '--trace-requests'], { env });
  // The first attempt is refused; the registry is up before the second.
  await until('a connection is refused', () => run.stderr().includes('connection refused'));
  await listening(
    t,
    createServer((socket) => joinTo(socket, upstream)),
    port,
  );
  const { code, stderr } = await run.ended;
  assert.equal(code, 0, stderr);
  await airlift(['verify', output]);
});

test('a TLS connection that ends with an alert is retried', { skip: needs('openssl') }, async (t) => {
  const upstream = await registryWithImage(t);
  const { cert, key } = await makeAuthority(temp(t));
  const options = { cert: readFileSync(cert), key: readFileSync(key) };
  const tls = await listening(
    t,
    createTlsServer(options, (socket) => joinTo(socket, upstream)),
  );
  let connections = 0;
  const internalError = Buffer.from([0x15, 3, 3, 0, 2, 2, 80]);
  const port = await listening(
    t,
    createServer((socket) => {
      if (++connections % 2 === 1) socket.once('data', () => socket.end(internalError));
      else joinTo(socket, tls);
    }),
  );
  const output = join(temp(t), 'site.tar');
  const flags = ['--insecure-skip-tls-verify', '--no-plain-http', ...quick];
  await airlift(['export', `127.0.0.1:${port}/acme/app:1`, '-o', output, ...flags], { env });
  await airlift(['verify', output]);
  assert.ok(connections >= 2);
});

test('a truncated token answer is requested again', async (t) => {
  const upstream = await registryWithImage(t);
  let tokenRequests = 0;
  const tokens = createHttpServer((_request, response) => {
    const text = JSON.stringify({ token: 'let-me-in' });
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
    if (++tokenRequests > 2) return void response.end(text);
    response.write(text.slice(0, 5), () => response.destroy());
  });
  const tokenPort = await listening(t, tokens);
  const proxy = await startFaultProxy({ upstream: `http://127.0.0.1:${upstream}` });
  t.after(() => proxy.stop());
  proxy.use({
    fault: {
      do: 'answer',
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="http://127.0.0.1:${tokenPort}/token",service="it"` },
    },
    times: 1,
  });
  const output = join(temp(t), 'site.tar');
  await airlift(['export', `${proxy.host}/acme/app:1`, '-o', output, ...quick], { env });
  await airlift(['verify', output]);
  assert.ok(tokenRequests >= 3);
});

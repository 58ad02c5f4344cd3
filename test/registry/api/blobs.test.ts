import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it, type TestContext } from 'node:test';
import { isAirliftError } from '../../../src/errors.js';
import { Registry, type RegistryOptions } from '../../../src/registry/registry.js';
import { collect, content } from '../content.js';
import { sendFault, startOddServer, type Handler, type OddServer } from '../odd-server.js';

const blob = content(randomBytes(300_000));
const { descriptor, bytes } = blob;

async function setUp(
  t: TestContext,
  handler: Handler,
  options: RegistryOptions = {},
): Promise<{ server: OddServer; registry: Registry; name: { registry: string; repository: string } }> {
  const server = await startOddServer(t, handler);
  const registry = new Registry({ retries: 2, retryDelay: 1, ...options });
  t.after(() => registry.close());
  return { server, registry, name: { registry: server.host, repository: 'a/b' } };
}

it('requests bytes without a content coding', async (t) => {
  const { registry, name, server } = await setUp(t, (_request, response) => response.end(bytes));
  assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
  assert.equal(server.seen[0]?.headers['accept-encoding'], 'identity');
});

it('rejects a wrong length before it reads the body', async (t) => {
  const { registry, name } = await setUp(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 299_999 }).write('x');
  });
  await assert.rejects(registry.fetch(name, descriptor), {
    code: 'size-mismatch',
    message: /wrong Content-Length; got 299999 bytes, want 300000/,
  });
});

it('rejects encoded content', async (t) => {
  const { registry, name } = await setUp(t, (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
  });
  await assert.rejects(registry.fetch(name, descriptor), { code: 'registry' });
});

it('resumes at an offset, or reports that the registry cannot', async (t) => {
  let respond: (offset: number) => [number, Record<string, string>, Buffer] = () => [200, {}, bytes];
  const { registry, name } = await setUp(t, (request, response) => {
    const offset = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1]);
    const [status, headers, body] = respond(offset);
    response.writeHead(status, headers).end(body);
  });
  const from = (offset: number): Promise<Buffer> =>
    registry.fetch(name, descriptor, { offset }).then(collect);
  await assert.rejects(from(10), { code: 'unsupported' });
  respond = (at) => [206, { 'content-range': `bytes ${at}-299999/300000` }, bytes.subarray(at)];
  assert.deepEqual(await from(123_456), bytes.subarray(123_456));
  assert.deepEqual(await from(300_000), Buffer.alloc(0));
  respond = () => [206, { 'content-range': 'bytes 0-299999/300000' }, bytes];
  await assert.rejects(from(10), { code: 'unsupported' });
  respond = (at) => [206, { 'content-range': `bytes ${at}-299998/299999` }, bytes.subarray(at, -1)];
  await assert.rejects(from(10), { code: 'size-mismatch' });
  respond = () => [206, {}, bytes];
  await assert.rejects(from(10), { code: 'unsupported' });
  respond = () => [416, {}, Buffer.alloc(0)];
  await assert.rejects(from(10), { code: 'unsupported' });
});

it('fails a stream that breaks or stalls in the middle with `network`', async (t) => {
  let end: (socket: { destroy(): void } | null) => void = (socket) => socket?.destroy();
  const { registry, name } = await setUp(
    t,
    (_request, response) => {
      response.writeHead(200, { 'content-length': bytes.byteLength });
      response.write(bytes.subarray(0, 100_000), () => end(response.socket));
    },
    { idleTimeout: 300 },
  );
  for (const cut of [end, () => undefined]) {
    end = cut;
    let got = 0;
    const reading = async (): Promise<void> => {
      for await (const chunk of (await registry.fetch(name, descriptor)) as AsyncIterable<Buffer>)
        got += chunk.length;
    };
    await assert.rejects(reading(), (error) => isAirliftError(error, 'network'));
    assert.ok(got <= 100_000);
  }
});

it('retries if no response arrives, up to the given number of retries', async (t) => {
  let faults = 2;
  const { registry, name, server } = await setUp(t, (request, response) => {
    if (faults-- > 0) request.socket.destroy();
    else response.end(bytes);
  });
  assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
  assert.equal(server.seen.length, 3);
  faults = 100;
  await assert.rejects(registry.fetch(name, descriptor), { code: 'network' });
  assert.equal(server.seen.length, 6);
});

it('stops at once when it is interrupted', async (t) => {
  const abort = new AbortController();
  const { registry, name } = await setUp(t, (_request, response) => {
    response.writeHead(200, { 'content-length': bytes.byteLength });
    response.write(bytes.subarray(0, 1000), () => abort.abort());
  });
  await assert.rejects(
    async () => collect(await registry.fetch(name, descriptor, { signal: abort.signal })),
    { code: 'interrupted' },
  );
  await assert.rejects(registry.fetch(name, descriptor, { signal: abort.signal }), { code: 'interrupted' });
});

it('finds blobs by HEAD and checks their length', async (t) => {
  const responses: [number, Record<string, string>, boolean][] = [
    [200, { 'content-length': '300000' }, true],
    [200, { 'content-length': '299999' }, false],
    [404, {}, false],
  ];
  let at = 0;
  const { registry, name } = await setUp(t, (_request, response) => {
    const [status, headers] = responses[at] ?? [500, {}];
    response.writeHead(status, headers).end();
  });
  for (; at < responses.length; at++)
    assert.equal(await registry.exists(name, descriptor), responses[at]?.[2]);
});

it('accepts a HEAD response without a length', async (t) => {
  const { registry, name } = await setUp(t, (_request, response) => {
    response.writeHead(200, { 'transfer-encoding': 'chunked' }).end();
  });
  assert.equal(await registry.exists(name, descriptor), true);
});

it('uses GET if HEAD is not allowed on blobs', async (t) => {
  const { registry, name, server } = await setUp(t, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(405).end();
    else if (request.url?.includes(descriptor.digest) !== true) sendFault(response, 404, 'BLOB_UNKNOWN');
    else response.writeHead(206, { 'content-range': 'bytes 0-0/300000' }).end('x');
  });
  assert.equal(await registry.exists(name, descriptor), true);
  assert.equal(server.seen[1]?.headers['range'], 'bytes=0-0');
  assert.equal(await registry.exists(name, content('other').descriptor), false);
});

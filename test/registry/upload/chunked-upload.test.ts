import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { digestOf } from '../../../src/oci/digest.js';
import type { OpenContent } from '../../../src/oci/target.js';
import type { Registry, RegistryOptions } from '../../../src/registry/registry.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { needs } from '../../support/peers.js';
import { testClient } from '../client.js';
import { collect, content, opener } from '../content.js';
import { readRequest, startOddServer, type OddServer } from '../odd-server.js';

const { descriptor, bytes } = content(randomBytes(3_000_000));

type Interfere = (request: IncomingMessage, response: ServerResponse, held: () => Buffer) => boolean;

interface Setup {
  readonly server: OddServer;
  readonly registry: Registry;
  readonly name: { registry: string; repository: string };
  /** The content of every completed blob. */
  readonly blobs: Buffer[];
}

/** A registry that follows the specification, except for what a test overrides. */
async function setUp(
  t: TestContext,
  options: RegistryOptions,
  interfere: Interfere = () => false,
  headers: Record<string, string> = {},
): Promise<Setup> {
  const blobs: Buffer[] = [];
  let held = Buffer.alloc(0);
  let step = 0;
  const progressHeaders = (): Record<string, string> => ({
    location: `/up?step=${++step}`,
    range: `0-${Math.max(0, held.byteLength - 1)}`,
  });
  const server = await startOddServer(t, (request, response, url) => {
    if (interfere(request, response, () => held)) return;
    const { method } = request;
    if (method === 'POST') {
      held = Buffer.alloc(0);
      response.writeHead(202, { ...progressHeaders(), ...headers }).end();
    } else if (method === 'GET') response.writeHead(204, progressHeaders()).end();
    else if (method === 'HEAD') response.writeHead(404).end();
    else if (method === 'DELETE') response.writeHead(204).end();
    else {
      const from = /^(\d+)-\d+$/.exec(request.headers['content-range'] ?? '')?.[1];
      const chunks: Buffer[] = [];
      const keep = (): void => {
        if (from !== undefined && Number(from) !== held.byteLength) return;
        held = Buffer.concat([held, ...chunks.splice(0)]);
      };
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('close', keep);
      request.on('end', () => {
        if (method === 'PATCH' && Number(from) !== held.byteLength) {
          response.writeHead(416, progressHeaders()).end();
          return;
        }
        keep();
        if (method === 'PATCH') response.writeHead(202, progressHeaders()).end();
        else if (digestOf(held) !== url.searchParams.get('digest')) response.writeHead(400).end();
        else {
          blobs.push(held);
          response.writeHead(201).end();
        }
      });
    }
  });
  const { registry } = testClient(t, options);
  return { server, registry, name: { registry: server.host, repository: 'a/b' }, blobs };
}

const methods = (server: OddServer): string => server.seen.map(({ method }) => method).join(' ');
const ranges = (server: OddServer): unknown[] =>
  server.seen.filter(({ method }) => method === 'PATCH').map(({ headers }) => headers['content-range']);

it('sends consecutive chunks, and reads the content once', async (t) => {
  const { server, registry, name, blobs } = await setUp(t, { chunkSize: 1_000_000 });
  let opened = 0;
  const open: OpenContent = (offset) => {
    opened++;
    return opener(bytes, 70_000)(offset);
  };
  assert.equal(await registry.push(name, descriptor, open), 'uploaded');
  assert.deepEqual(blobs, [bytes]);
  assert.deepEqual(ranges(server), ['0-999999', '1000000-1999999', '2000000-2999999']);
  assert.equal(methods(server), 'POST PATCH PATCH PATCH PUT');
  assert.deepEqual(
    server.seen.slice(1).map(({ url }) => url.replace(/&digest=.*/, '&digest')),
    ['/up?step=1', '/up?step=2', '/up?step=3', '/up?step=4&digest'],
  );
  assert.equal(opened, 1);
});

it('respects the minimum chunk size of the registry', async (t) => {
  const { server, registry, name, blobs } = await setUp(t, { chunkSize: 1000 }, undefined, {
    'oci-chunk-min-length': '2000000',
  });
  await registry.push(name, descriptor, opener(bytes));
  assert.deepEqual(ranges(server), ['0-1999999', '2000000-2999999']);
  assert.deepEqual(blobs, [bytes]);
});

it('resumes at the offset of the registry after a break, a 416 or a 5xx', async (t) => {
  let fault = 0;
  const { server, registry, name, blobs } = await setUp(
    t,
    { chunkSize: 1_000_000 },
    (request, response, held) => {
      if (request.method !== 'PATCH' || fault > 2) return false;
      if (held().byteLength === 0 && fault === 0) {
        fault++;
        request.once('data', () => setImmediate(() => request.socket.destroy()));
        return false;
      }
      if (held().byteLength > 0 && fault > 0) {
        response.writeHead(fault++ === 1 ? 416 : 503).end();
        request.resume();
        return true;
      }
      return false;
    },
  );
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(blobs, [bytes]);
  assert.equal(server.seen.filter(({ method }) => method === 'GET').length, 3);
  assert.equal(server.seen.filter(({ method }) => method === 'POST').length, 1);
});

it('detects that the registry has one byte, which it reports like none', async (t) => {
  const small = content('ab');
  let broken = 0;
  const { server, registry, name, blobs } = await setUp(t, { chunkSize: 1 }, (request, response) => {
    // The byte is stored, but the response gets lost.
    if (request.method === 'PATCH' && broken++ === 0)
      response.writeHead = () => {
        request.socket.destroy();
        return response;
      };
    return false;
  });
  assert.equal(await registry.push(name, small.descriptor, opener(small.bytes)), 'uploaded');
  assert.deepEqual(blobs, [small.bytes]);
  assert.deepEqual(ranges(server), ['0-0', '0-0', '1-1']);
});

it('checks whether the blob exists if the response to the last request got lost', async (t) => {
  let ends = 0;
  const { server, registry, name } = await setUp(t, { chunkSize: 2_000_000 }, (request, response) => {
    request.resume();
    if (request.method === 'PUT' && ends++ === 0) request.socket.destroy();
    else if (request.method === 'PUT') response.writeHead(404).end();
    else if (request.method === 'HEAD' && ends > 0)
      response.writeHead(200, { 'content-length': descriptor.size }).end();
    else return false;
    return true;
  });
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.equal(methods(server), 'POST PATCH PATCH PUT PUT DELETE HEAD');
});

it('starts again if the registry lost the upload', async (t) => {
  let lost = false;
  const { server, registry, name, blobs } = await setUp(
    t,
    { chunkSize: 1_000_000 },
    (request, response, held) => {
      if (request.method === 'PATCH' && held().byteLength > 0 && !lost) {
        lost = true;
        request.socket.destroy();
        return true;
      }
      if (request.method !== 'GET') return false;
      response.writeHead(404).end();
      return true;
    },
  );
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(blobs, [bytes]);
  assert.equal(methods(server), 'POST PATCH PATCH GET DELETE HEAD POST PATCH PATCH PATCH PUT');
});

it('gives up if the upload makes no progress', async (t) => {
  const { registry, name, server } = await setUp(
    t,
    { chunkSize: 1_000_000, retries: 3 },
    (request, response) => {
      if (request.method !== 'PATCH') return false;
      request.resume().on('end', () => response.writeHead(202, { range: '0-0', location: '/up' }).end());
      return true;
    },
  );
  await assert.rejects(registry.push(name, descriptor, opener(bytes)), {
    code: 'registry',
    message: /the upload makes no progress$/,
  });
  assert.equal(ranges(server).length, 4);
});

it('never completes wrong content', async (t) => {
  const wrong = Buffer.from(bytes);
  wrong[2_999_999] = (wrong[2_999_999] ?? 0) ^ 1;
  for (const [given, code] of [
    [wrong, 'digest-mismatch'],
    [bytes.subarray(0, -1), 'size-mismatch'],
    [Buffer.concat([bytes, Buffer.from('x')]), 'size-mismatch'],
  ] as const) {
    const { registry, name, server, blobs } = await setUp(t, { chunkSize: 1_000_000 });
    await assert.rejects(registry.push(name, descriptor, opener(given)), { code });
    assert.deepEqual(blobs, []);
    assert.match(methods(server), /DELETE$/);
    assert.doesNotMatch(methods(server), /PUT/);
  }
});

/** Behaves like a proxy with a body limit: responds at once and closes, or reads everything before it responds. */
const limited =
  (limit: number, isRude: boolean): Interfere =>
  (request, response) => {
    if (Number(request.headers['content-length'] ?? 0) <= limit) return false;
    const page = '<html><h1>413 Request Entity Too Large</h1></html>';
    const respond = (): void =>
      void response.writeHead(413, { 'content-type': 'text/html', connection: 'close' }).end(page, () => {
        if (isRude) request.socket.destroy();
      });
    if (isRude) respond();
    else void readRequest(request).then(respond);
    return true;
  };

for (const isRude of [false, true]) {
  it(`switches to chunks if a body is too large for a ${isRude ? 'rude' : 'polite'} proxy`, async (t) => {
    const large = content(randomBytes(40_000_000));
    const { server, registry, name, blobs } = await setUp(t, {}, limited(8 * 1024 * 1024, isRude));
    assert.equal(await registry.push(name, large.descriptor, opener(large.bytes)), 'uploaded');
    assert.deepEqual(blobs, [large.bytes]);
    const before = ranges(server).length;
    assert.equal(await registry.push(name, large.descriptor, opener(large.bytes)), 'uploaded');
    assert.equal(blobs.length, 2);
    assert.equal(ranges(server).length - before, 5);
  });
}

it('reports that even small chunks are too large', async (t) => {
  const { registry, name } = await setUp(t, {}, limited(1000, false));
  await assert.rejects(registry.push(name, descriptor, opener(bytes)), {
    code: 'registry',
    message: /chunk is too large for the registry or a proxy in front of it \(413, with an HTML page\)$/,
    hint: /client_max_body_size/,
  });
});

describe('with docker-registry', { skip: needs('docker-registry') }, () => {
  it('uploads in chunks', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const { registry, traces } = testClient(t, { chunkSize: 700_000 });
    assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
    assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
    assert.equal(traces.filter(({ method }) => method === 'PATCH').length, 5);
  });
});

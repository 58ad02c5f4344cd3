import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { it, type TestContext } from 'node:test';
import { digestOf } from '../../../src/oci/digest.js';
import { dockerSchema1Signed, ociIndex } from '../../../src/oci/media-types.js';
import { Registry } from '../../../src/registry/registry.js';
import { collect, content, opener, smallImage } from '../content.js';
import { readRequest, sendFault, startOddServer, type Handler, type OddServer } from '../odd-server.js';

const { index } = smallImage('manifests');
const { descriptor, bytes } = index;

async function setUp(
  t: TestContext,
  handler: Handler,
): Promise<{ server: OddServer; registry: Registry; name: { registry: string; repository: string } }> {
  const server = await startOddServer(t, handler);
  const registry = new Registry({ retries: 1, retryDelay: 1 });
  t.after(() => registry.close());
  return { server, registry, name: { registry: server.host, repository: 'a/b' } };
}

function send(
  response: ServerResponse,
  headers: Record<string, string | number> = {},
  body: Buffer | string = bytes,
): void {
  response
    .writeHead(200, { 'content-type': ociIndex, 'content-length': Buffer.byteLength(body), ...headers })
    .end(body);
}

it('resolves by HEAD alone if the response is complete', async (t) => {
  const { registry, name, server } = await setUp(t, (_request, response) =>
    send(response, { 'docker-content-digest': descriptor.digest }),
  );
  assert.deepEqual(await registry.resolve({ ...name, tag: '1' }), descriptor);
  assert.deepEqual(
    server.seen.map(({ method }) => method),
    ['HEAD'],
  );
});

it('resolves by GET if HEAD is incomplete, and does not fetch the manifest again', async (t) => {
  for (const head of [200, 405, 400, 403, 404]) {
    const { registry, name, server } = await setUp(t, (request, response) => {
      if (request.method === 'HEAD' && head !== 200) response.writeHead(head).end();
      else send(response);
    });
    const found = await registry.resolve({ ...name, tag: '1' });
    assert.deepEqual(found, descriptor);
    assert.deepEqual(await collect(await registry.fetch(name, found)), bytes);
    assert.deepEqual(
      server.seen.map(({ method }) => method),
      ['HEAD', 'GET'],
    );
  }
});

it('trusts a 404 to a guess from a host that answers HEAD completely', async (t) => {
  const { registry, name, server } = await setUp(t, (_request, response, url) => {
    if (url.pathname.endsWith('.sig')) sendFault(response, 404, 'MANIFEST_UNKNOWN');
    else send(response, { 'docker-content-digest': descriptor.digest });
  });
  const guess = { ...name, tag: 'a.sig' };
  const isMissing = { code: 'not-found' };
  await assert.rejects(registry.resolve(guess, { isGuess: true }), isMissing);
  await registry.resolve({ ...name, tag: '1' });
  await assert.rejects(registry.resolve(guess, { isGuess: true }), isMissing);
  await assert.rejects(registry.resolve(guess), isMissing);
  assert.deepEqual(
    server.seen.map(({ method }) => method),
    ['HEAD', 'GET', 'HEAD', 'HEAD', 'HEAD', 'GET'],
  );
});

it('detects a registry that names a wrong digest', async (t) => {
  const other = digestOf(Buffer.from('other'));
  const { registry, name } = await setUp(t, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(405).end();
    else send(response, request.url?.endsWith('liar') === true ? { 'docker-content-digest': other } : {});
  });
  await assert.rejects(registry.resolve({ ...name, tag: 'liar' }), { code: 'digest-mismatch' });
  await assert.rejects(registry.resolve({ ...name, digest: other }), { code: 'digest-mismatch' });
  await assert.rejects(registry.fetch(name, { ...descriptor, digest: other }), { code: 'digest-mismatch' });
  await assert.rejects(registry.fetch(name, { ...descriptor, size: 1 }), { code: 'size-mismatch' });
});

it('resolves and verifies a sha512 digest', async (t) => {
  const digest = digestOf(bytes, 'sha512');
  const { registry, name } = await setUp(t, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(405).end();
    else send(response, { 'docker-content-digest': descriptor.digest });
  });
  assert.deepEqual(await registry.resolve({ ...name, digest }), { ...descriptor, digest });
});

it('rejects HTML, schema 1 and manifests over 4 MiB', async (t) => {
  let respond: (response: ServerResponse) => void = () => undefined;
  const { registry, name } = await setUp(t, (_request, response) => respond(response));
  const resolving = (): Promise<unknown> => registry.resolve({ ...name, tag: '1' });
  respond = (response) => send(response, { 'content-type': 'text/html' }, '<!doctype html><p>log in');
  await assert.rejects(resolving(), { code: 'registry', message: /HTML page/, hint: /proxy/ });
  respond = (response) =>
    send(
      response,
      {
        'content-type': dockerSchema1Signed,
        'docker-content-digest': digestOf(Buffer.from('without signatures')),
      },
      '{"schemaVersion":1,"fsLayers":[]}',
    );
  await assert.rejects(resolving(), { code: 'unsupported', message: /schema 1/ });
  const large = Buffer.alloc(4 * 1024 * 1024 + 1, 32);
  respond = (response) => send(response, {}, large);
  await assert.rejects(resolving(), { code: 'registry', message: /too large; got 4194305 bytes/ });
  respond = (response) => {
    response.writeHead(200, { 'content-type': ociIndex });
    response.end(large);
  };
  await assert.rejects(resolving(), { code: 'registry', message: /too large; got more than 4194304 bytes/ });
});

it('pushes the exact bytes, and detects a registry that stores others', async (t) => {
  let held: string = descriptor.digest;
  const bodies: Buffer[] = [];
  const { registry, name, server } = await setUp(t, (request, response) => {
    void readRequest(request).then((body) => {
      bodies.push(body);
      response.writeHead(201, { 'docker-content-digest': held }).end();
    });
  });
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(bodies, [bytes]);
  assert.equal(server.seen[0]?.headers['content-type'], ociIndex);
  assert.equal(server.seen[0]?.url, `/v2/a/b/manifests/${descriptor.digest}`);
  held = digestOf(Buffer.from('other'));
  await assert.rejects(registry.tag({ ...name, tag: '1' }, descriptor, opener(bytes)), {
    code: 'digest-mismatch',
  });
  const requests = server.seen.length;
  await assert.rejects(registry.push(name, descriptor, opener(Buffer.from('other'))), {
    code: 'size-mismatch',
  });
  assert.equal(server.seen.length, requests);
});

it('reports why a registry rejects a manifest', async (t) => {
  const { registry, name } = await setUp(t, (_request, response) =>
    sendFault(response, 400, 'MANIFEST_BLOB_UNKNOWN', 'blob unknown to registry'),
  );
  await assert.rejects(registry.push(name, descriptor, opener(bytes)), {
    code: 'registry',
    message: `push to ${name.registry}/a/b: manifest ${descriptor.digest}: the registry rejected the request (400 MANIFEST_BLOB_UNKNOWN)`,
  });
});

it('does not accept another digest when it looks for a manifest', async (t) => {
  const { registry, name } = await setUp(t, (_request, response) =>
    send(response, { 'docker-content-digest': descriptor.digest }),
  );
  assert.equal(await registry.exists(name, descriptor), true);
  assert.equal(await registry.exists(name, content('{}', ociIndex).descriptor), false);
});

import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { it, type TestContext } from 'node:test';
import { ociIndex } from '../../../src/oci/media-types.js';
import type { MirrorRule } from '../../../src/registry/config/options.js';
import { testClient } from '../client.js';
import { collect, smallImage } from '../content.js';
import { sendFault, sendJson, startOddServer, type Handler, type OddServer } from '../odd-server.js';

const { index, layer } = smallImage('mirrored');

function serve(response: ServerResponse, url: URL): void {
  if (url.pathname.includes('/manifests/'))
    response
      .writeHead(200, { 'content-type': ociIndex, 'docker-content-digest': index.descriptor.digest })
      .end(index.bytes);
  else if (url.pathname.includes('/blobs/')) response.end(layer.bytes);
  else if (url.pathname.endsWith('/tags/list'))
    sendJson(response, 200, { tags: [url.pathname.split('/')[2]] });
  else sendFault(response, 404, 'NOT_FOUND');
}

interface Pair {
  readonly mirror: OddServer;
  readonly upstream: OddServer;
  readonly rule: MirrorRule;
  readonly name: { registry: string; repository: string };
}

async function start(t: TestContext, mirrorHandler: Handler): Promise<Pair> {
  const mirror = await startOddServer(t, mirrorHandler);
  const upstream = await startOddServer(t, (_request, response, url) => serve(response, url));
  const rule = { prefix: upstream.host, mirrors: [{ location: `${mirror.host}/m` }], origin: 'test' };
  return { mirror, upstream, rule, name: { registry: upstream.host, repository: 'a' } };
}

it('reads from the mirror, lists from the registry, and notes which one served', async (t) => {
  const { mirror, upstream, rule, name } = await start(t, (_request, response, url) => serve(response, url));
  const { registry, traces, warnings, notes } = testClient(t, { mirrors: [rule] });
  assert.equal((await registry.resolve({ ...name, tag: '1' })).digest, index.descriptor.digest);
  assert.deepEqual(await collect(await registry.fetch(name, index.descriptor)), index.bytes);
  assert.deepEqual(await collect(await registry.fetch(name, layer.descriptor)), layer.bytes);
  assert.deepEqual(upstream.seen, []);
  for (const { url, registry: traced } of traces) {
    assert.match(url, new RegExp(`^http://${mirror.host}/v2/m/a/`));
    assert.equal(traced, upstream.host);
  }
  const tags: string[] = [];
  for await (const tag of registry.tags(name)) tags.push(tag);
  assert.deepEqual(tags, ['a']);
  assert.deepEqual(warnings, []);
  assert.deepEqual(notes, [`${upstream.host}/a: served by mirror http://${mirror.host}`]);
});

it('uses the registry without a warning if the mirror lacks the image', async (t) => {
  const { rule, name } = await start(t, (_request, response) => sendFault(response, 404, 'MANIFEST_UNKNOWN'));
  const { registry, warnings, notes } = testClient(t, { mirrors: [rule] });
  await registry.resolve({ ...name, tag: '1' });
  assert.deepEqual(await collect(await registry.fetch(name, layer.descriptor)), layer.bytes);
  assert.deepEqual(warnings, []);
  assert.deepEqual(notes, [`${name.registry}/a: served by the registry itself, http://${name.registry}`]);
});

it('rejects wrong content from a mirror, and warns once', async (t) => {
  const { rule, name, mirror } = await start(t, (_request, response) =>
    response.writeHead(200, { 'content-type': ociIndex }).end('{}'),
  );
  const { registry, warnings } = testClient(t, { mirrors: [rule] });
  for (let i = 0; i < 2; i++)
    assert.deepEqual(await collect(await registry.fetch(name, index.descriptor)), index.bytes);
  assert.equal(warnings.length, 1);
  assert.match(
    warnings[0] ?? '',
    new RegExp(
      `^mirror http://${mirror.host} did not serve ${name.registry}/a, trying the next endpoint: .*digest`,
    ),
  );
});

it('skips a mirror that cannot be reached', async (t) => {
  const { rule, name, mirror } = await start(t, (request) => request.socket.destroy());
  const { registry, warnings } = testClient(t, { mirrors: [rule], retries: 0 });
  for (let i = 0; i < 3; i++) await registry.resolve({ ...name, tag: '1' });
  assert.equal(mirror.seen.length, 1);
  assert.equal(warnings.length, 1);
});

it('reports the error of the registry itself if no endpoint serves', async (t) => {
  const missing: Handler = (_request, response) => sendFault(response, 404, 'MANIFEST_UNKNOWN');
  const upstream = await startOddServer(t, missing);
  const mirror = await startOddServer(t, (_request, response) => sendFault(response, 403, 'DENIED'));
  const mirrors = [{ prefix: upstream.host, mirrors: [{ location: mirror.host }], origin: 'test' }];
  const { registry } = testClient(t, { mirrors });
  await assert.rejects(registry.resolve({ registry: upstream.host, repository: 'a', tag: '1' }), {
    code: 'not-found',
    message: `resolve ${upstream.host}/a:1: manifest not found (404 MANIFEST_UNKNOWN)`,
  });
});

it('lists from a mirror if the registry cannot be reached', async (t) => {
  const { rule, name, upstream } = await start(t, (_request, response, url) => serve(response, url));
  const gone = { ...rule, location: '127.0.0.1:1' };
  const { registry, warnings } = testClient(t, { mirrors: [gone], retries: 0 });
  const tags: string[] = [];
  for await (const tag of registry.tags(name)) tags.push(tag);
  assert.deepEqual(tags, ['m']);
  assert.equal(upstream.seen.length, 0);
  assert.match(warnings[0] ?? '', /^registry http:\/\/127\.0\.0\.1:1 did not serve/);
});

it('does not send credentials of the registry to a mirror', async (t) => {
  const wants: Handler = (request, response, url) => {
    if (request.headers.authorization !== undefined) serve(response, url);
    else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
  };
  const { rule, name, mirror } = await start(t, wants);
  const credentials = { username: 'jane', password: 'pa55word', registry: name.registry };
  const { registry } = testClient(t, { mirrors: [rule], credentials });
  await registry.resolve({ ...name, tag: '1' });
  assert.deepEqual(
    mirror.seen.map(({ headers }) => headers['authorization']),
    mirror.seen.map(() => undefined),
  );
});

import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { it } from 'node:test';
import { ociIndex } from '../../src/oci/media-types.js';
import { testClient } from './client.js';
import { smallImage } from './content.js';
import { startOddServer } from './odd-server.js';

const { index } = smallImage('small responses');

/** Sends a body, but breaks off in the middle of the first response. */
function breaksOnce(): (response: ServerResponse, key: string, type: string, body: Buffer) => void {
  const seen = new Set<string>();
  return (response, key, type, body) => {
    response.writeHead(200, { 'content-type': type, 'content-length': body.length });
    if (seen.has(key)) response.end(body);
    else response.write(body.subarray(0, body.length / 2), () => response.destroy());
    seen.add(key);
  };
}

it('retries a manifest, a list of tags, referrers and a token whose response breaks off', async (t) => {
  const send = breaksOnce();
  const server = await startOddServer(t, (request, response, url) => {
    const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
    const path = url.pathname;
    if (path === '/token') send(response, path, 'application/json', json({ token: 'tok' }));
    else if (request.headers.authorization !== 'Bearer tok')
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="http://${server.host}/token",service="s"` })
        .end();
    else if (path.includes('/manifests/')) send(response, path, ociIndex, index.bytes);
    else if (path.includes('/referrers/'))
      send(response, path, ociIndex, json({ schemaVersion: 2, mediaType: ociIndex, manifests: [] }));
    else send(response, path, 'application/json', json({ tags: ['a', 'b'] }));
  });
  const { registry } = testClient(t, { retries: 1 });
  const name = { registry: server.host, repository: 'a' };
  const bytes = [];
  for await (const chunk of await registry.fetch(name, index.descriptor)) bytes.push(chunk as Buffer);
  assert.deepEqual(Buffer.concat(bytes), index.bytes);
  const tags: string[] = [];
  for await (const tag of registry.tags(name)) tags.push(tag);
  assert.deepEqual(tags, ['a', 'b']);
  for await (const referrer of registry.referrers(name, index.descriptor.digest))
    assert.fail(referrer.digest);
  assert.equal(server.seen.filter(({ url }) => url.startsWith('/token')).length, 2);
});

it('gives up on a manifest that always breaks off', async (t) => {
  const server = await startOddServer(t, (_request, response) => {
    response.writeHead(200, { 'content-type': ociIndex, 'content-length': index.bytes.length });
    response.write(index.bytes.subarray(0, 5), () => response.destroy());
  });
  const { registry } = testClient(t, { retries: 2 });
  const name = { registry: server.host, repository: 'a' };
  await assert.rejects(registry.fetch(name, index.descriptor), { code: 'network' });
  assert.equal(server.seen.length, 3);
});

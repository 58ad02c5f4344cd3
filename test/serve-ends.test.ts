import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { digestOf } from '../src/oci/digest.js';
import { serve, type Serving } from '../src/serve.js';
import { writeBundle } from './bundle/write-bundle.js';
import { multiPlatform, singlePlatform } from './support/image-sets.js';
import { temp } from './support/temp.js';

const limit = { timeout: 60_000 };

/** A bundle with one large layer, served, and where that layer is. */
async function large(
  t: TestContext,
  options: { stallTimeout?: number } = {},
): Promise<{ serving: Serving; path: string; url: string; digest: string; size: number }> {
  const image = singlePlatform('linux/amd64', { name: 'large', bigBytes: 24_000_000 });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/large:1', image }]);
  const serving = await serve({ bundle: path }, { port: 0, ...options });
  t.after(() => serving.close());
  const [blob] = [...image.blobs.values()].sort((left, right) => right.size - left.size);
  assert.ok(blob !== undefined);
  const url = `${serving.url}/v2/acme/large/blobs/${blob.digest}`;
  return { serving, path, url, digest: blob.digest, size: blob.size };
}

/** Begins a download and reads nothing of its body yet. */
async function begin(url: string): Promise<IncomingMessage> {
  const asked = request(url, { agent: false }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return response;
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('draining ends no download that runs', limit, async (t) => {
  const { serving, url, digest } = await large(t);
  const response = await begin(url);
  const drained = serving.drain();
  await assert.rejects(fetch(`${serving.url}/v2/`));
  assert.equal(digestOf(await readAll(response)), digest);
  await drained;
});

test('a client that takes nothing is dropped, and one that reads is not', limit, async (t) => {
  const { serving, url, size } = await large(t, { stallTimeout: 500 });
  const stalled = await begin(url);
  assert.equal((await readAll(await begin(url))).length, size);
  // A paused client does not see the end; the server has no request left once it gave this one up.
  await serving.drain();
  await assert.rejects(readAll(stalled));
});

test('a bundle that is replaced while it is served ends serving and its downloads', limit, async (t) => {
  const { serving, path, url } = await large(t);
  const response = await begin(url);
  await writeFile(path, 'another file');
  await assert.rejects(serving.broken, /another file took its place, or its content changed; stopped/);
  await assert.rejects(readAll(response));
  await assert.rejects(fetch(`${serving.url}/v2/`));
});

test('as a mirror of one registry it never answers with the image of another', async (t) => {
  const image = multiPlatform({ name: 'hub' });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [
    { reference: 'docker.io/acme/web:1', image },
    { reference: 'quay.io:8443/acme/api:1', image },
  ]);
  const serving = await serve({ bundle: path }, { port: 0 });
  t.after(() => serving.close());
  const cases: [string, number][] = [
    ['acme/web/manifests/1?ns=quay.io', 404],
    [`acme/web/manifests/${image.root.digest}?ns=quay.io`, 404],
    ['acme/web/tags/list?ns=quay.io', 404],
    ['docker.io/acme/web/manifests/1?ns=quay.io', 404],
    ['acme/web/manifests/1?ns=docker.io', 200],
    ['acme/web/manifests/1?ns=registry-1.docker.io', 200],
    ['docker.io/acme/web/manifests/1?ns=docker.io', 200],
    ['acme/api/manifests/1?ns=quay.io:8443', 200],
    ['acme/api/manifests/1?ns=quay.io', 404],
    [`acme/web/manifests/1?ns=${serving.host}:${serving.port}`, 200],
    ['acme/web/manifests/1', 200],
  ];
  for (const [asked, status] of cases)
    for (const method of ['GET', 'HEAD'])
      assert.equal(
        (await fetch(`${serving.url}/v2/${asked}`, { method })).status,
        status,
        `${method} ${asked}`,
      );
});

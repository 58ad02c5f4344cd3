import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { ociConfig, ociManifest } from '../../src/oci/media-types.js';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';
import { built, errorCode, imageOf, pushBlob, pushManifest, startRegistry } from './fixture.js';

test('a range of a small or large blob has the bytes of that range', async (t) => {
  const registry = await startRegistry(t);
  for (const size of [1000, 300_000]) {
    const bytes = randomBytes(size);
    const digest = await pushBlob(registry, 'acme/api', bytes);
    const cases: [string, number, number][] = [
      ['bytes=0-0', 0, 1],
      ['bytes=0-', 0, size],
      ['bytes=100-199', 100, 200],
      [`bytes=${size - 1}-`, size - 1, size],
      [`bytes=10-${size * 2}`, 10, size],
      ['bytes=-5', size - 5, size],
      [`bytes=-${size * 2}`, 0, size],
    ];
    for (const [range, start, end] of cases) {
      const part = await registry.ask('GET', `acme/api/blobs/${digest}`, { headers: { Range: range } });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get('content-range'), `bytes ${start}-${end - 1}/${size}`);
      assert.equal(part.headers.get('content-length'), String(end - start));
      assert.deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(start, end), range);
    }
    for (const range of [`bytes=${size}-`, 'bytes=-0']) {
      const none = await registry.ask('GET', `acme/api/blobs/${digest}`, { headers: { Range: range } });
      assert.equal(none.status, 416, range);
      assert.equal(none.headers.get('content-range'), `bytes */${size}`);
      await none.arrayBuffer();
    }
    for (const range of ['bytes=5-2', 'bytes=a-b', 'bytes=0-1,5-6', 'lines=0-1', 'bytes=-']) {
      const all = await registry.ask('GET', `acme/api/blobs/${digest}`, { headers: { Range: range } });
      assert.equal(all.status, 200, range);
      assert.deepEqual(Buffer.from(await all.arrayBuffer()), bytes, range);
    }
  }
});

test('If-Range and If-None-Match compare with the digest', async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(100);
  const digest = await pushBlob(registry, 'a', bytes);
  const ask = async (headers: Record<string, string>): Promise<Response> => {
    const response = await registry.ask('GET', `a/blobs/${digest}`, { headers });
    await response.arrayBuffer();
    return response;
  };
  const etag = (await ask({})).headers.get('etag') ?? '';
  assert.equal((await ask({ Range: 'bytes=1-', 'If-Range': etag })).status, 206);
  assert.equal((await ask({ Range: 'bytes=1-', 'If-Range': '"other"' })).status, 200);
  assert.equal((await ask({ 'If-None-Match': etag })).status, 304);
});

test('HEAD of a blob gives its size and Accept-Ranges, and no body', async (t) => {
  const registry = await startRegistry(t);
  for (const size of [0, 10, 100_000]) {
    const digest = await pushBlob(registry, 'a/b', randomBytes(size));
    const head = await registry.ask('HEAD', `a/b/blobs/${digest}`, { headers: { Range: 'bytes=0-1' } });
    assert.equal(head.status, 200);
    assert.equal(head.headers.get('content-length'), String(size));
    assert.equal(head.headers.get('accept-ranges'), 'bytes');
    assert.equal(head.headers.get('docker-content-digest'), digest);
    const get = await registry.ask('GET', `a/b/blobs/${digest}`);
    assert.equal((await get.arrayBuffer()).byteLength, size);
  }
});

test('GET and HEAD of a manifest read it once', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'acme/api', 'x');
  await pushManifest(registry, 'acme/api', 'v1', image);
  const store = await DirectoryStore.open(registry.directory);
  const read = store.manifest.bind(store);
  let reads = 0;
  store.manifest = (...manifest) => {
    reads++;
    return read(...manifest);
  };
  const server = createRegistryServer(store);
  t.after(() => server.close());
  const { url } = await server.listen('127.0.0.1', 0);
  for (const method of ['GET', 'HEAD']) {
    reads = 0;
    const response = await fetch(`${url}/v2/acme/api/manifests/v1`, { method });
    assert.equal(response.headers.get('docker-content-digest'), image.digest);
    assert.equal(response.headers.get('content-length'), String(image.bytes.length));
    assert.equal(reads, 1, method);
  }
});

test('a blob is found only in the repositories it was pushed to, and a manifest is no blob', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'here', 'x');
  await pushManifest(registry, 'here', image.digest, image);
  const layer = digestOf(Buffer.from('layer of x'));
  for (const method of ['GET', 'HEAD']) {
    assert.equal((await registry.ask(method, `there/blobs/${layer}`)).status, 404);
    assert.equal((await registry.ask(method, `there/manifests/${image.digest}`)).status, 404);
    assert.equal((await registry.ask(method, `here/blobs/${image.digest}`)).status, 404);
    assert.equal((await registry.ask(method, `here/manifests/${layer}`)).status, 404);
  }
  assert.equal(await errorCode(await registry.ask('GET', `there/blobs/${layer}`)), 'BLOB_UNKNOWN');
  assert.equal(await errorCode(await registry.ask('GET', 'here/manifests/nowhere')), 'MANIFEST_UNKNOWN');
});

test('sha512 digests are served like sha256 ones', async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(200_000);
  const digest = digestOf(bytes, 'sha512');
  const started = await registry.ask('POST', 'acme/api/blobs/uploads/');
  const location = started.headers.get('location') ?? '';
  const ended = await registry.ask('PUT', `${location}?digest=${digest}`, { body: bytes });
  assert.equal(ended.status, 201);
  const config = Buffer.from('{}');
  const configDigest = await pushBlob(registry, 'acme/api', config);
  const { bytes: manifestBytes } = built({
    schemaVersion: 2,
    mediaType: ociManifest,
    config: { mediaType: ociConfig, digest: configDigest, size: 2 },
    layers: [{ mediaType: 'application/octet-stream', digest, size: bytes.length }],
  });
  const manifest = {
    bytes: manifestBytes,
    digest: digestOf(manifestBytes, 'sha512'),
    mediaType: ociManifest,
  };
  const pushed = await pushManifest(registry, 'acme/api', `${manifest.digest}?tag=v1&tag=v1.0`, manifest);
  assert.equal(pushed.status, 201);
  assert.equal(pushed.headers.get('oci-tag'), 'v1, v1.0');
  for (const reference of ['v1', 'v1.0', manifest.digest]) {
    const pulled = await registry.ask('GET', `acme/api/manifests/${reference}`);
    assert.equal(pulled.headers.get('docker-content-digest'), manifest.digest);
    assert.equal(digestOf(Buffer.from(await pulled.arrayBuffer()), 'sha512'), manifest.digest);
  }
  const blob = await registry.ask('GET', `acme/api/blobs/${digest}`);
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), bytes);
});

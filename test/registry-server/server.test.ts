import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { isAirliftError } from '../../src/errors.js';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { loggedTarget } from '../../src/registry-server/route.js';
import { DirectoryStore } from '../../src/registry-server/store.js';
import {
  errorCode,
  getUntidied,
  imageOf,
  indexOf,
  pushManifest,
  startRegistry,
  temporaryFolder,
} from './fixture.js';

test('what is pushed is pulled byte for byte, by tag and by digest', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'library/busybox', 'one');
  assert.equal((await pushManifest(registry, 'library/busybox', image.digest, image)).status, 201);
  const index = indexOf([image]);
  const pushed = await pushManifest(registry, 'library/busybox', '1.36', index);
  assert.equal(pushed.status, 201);
  assert.equal(pushed.headers.get('docker-content-digest'), index.digest);
  assert.equal(pushed.headers.get('location'), `/v2/library/busybox/manifests/${index.digest}`);
  for (const reference of ['1.36', index.digest]) {
    const pulled = await registry.ask('GET', `library/busybox/manifests/${reference}`);
    assert.equal(pulled.headers.get('content-type'), index.mediaType);
    assert.equal(pulled.headers.get('docker-content-digest'), index.digest);
    assert.deepEqual(Buffer.from(await pulled.arrayBuffer()), index.bytes);
    const head = await registry.ask('HEAD', `library/busybox/manifests/${reference}`);
    assert.equal(head.status, 200);
    assert.equal(head.headers.get('content-length'), String(index.bytes.length));
    assert.equal(head.headers.get('docker-content-digest'), index.digest);
  }
  const layer = Buffer.from('layer of one');
  const blob = await registry.ask('GET', `library/busybox/blobs/${digestOf(layer)}`);
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), layer);
});

test('the base endpoint answers with the version of the protocol', async (t) => {
  const registry = await startRegistry(t);
  for (const path of ['/v2/', '/v2']) {
    const response = await registry.ask('GET', path);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('docker-distribution-api-version'), 'registry/2.0');
  }
});

test('unknown paths are refused, and no path leads out of the store', async (t) => {
  const registry = await startRegistry(t);
  const cases: [string, number, string][] = [
    ['/v2/../../etc/tags/list', 400, 'NAME_INVALID'],
    ['/v2/%2e%2e/%2e%2e/etc/blobs/uploads/', 400, 'NAME_INVALID'],
    ['/v2/a%2f%2e%2e%2fb/tags/list', 400, 'NAME_INVALID'],
    ['/v2/a/_tags/tags/list', 400, 'NAME_INVALID'],
    ['/v2/A/tags/list', 400, 'NAME_INVALID'],
    ['/v2/%zz/tags/list', 400, 'NAME_INVALID'],
    [`/v2/${'a'.repeat(256)}/tags/list`, 400, 'NAME_INVALID'],
    ['/v2/a/manifests/..%2f..%2fx', 404, 'UNSUPPORTED'],
    ['/v2/a/manifests/.hidden', 404, 'MANIFEST_UNKNOWN'],
    ['/v2/a/blobs/sha256:zz', 400, 'DIGEST_INVALID'],
    ['/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e', 400, 'DIGEST_INVALID'],
    ['/v2/a/blobs/uploads/..%2f..%2fx', 404, 'UNSUPPORTED'],
    ['/v2/a/blobs/uploads/.', 404, 'BLOB_UPLOAD_UNKNOWN'],
    ['/v1/', 404, 'UNSUPPORTED'],
    ['/', 404, 'UNSUPPORTED'],
  ];
  for (const [path, status, code] of cases) {
    const response = await getUntidied(registry.url, path);
    assert.equal(response.status, status, path);
    const { errors } = JSON.parse(response.body) as { errors: { code: string }[] };
    assert.equal(errors[0]?.code, code, path);
  }
});

test('an unsupported method is answered with the supported ones', async (t) => {
  const registry = await startRegistry(t);
  const response = await registry.ask('POST', 'a/manifests/latest', { body: 'x' });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get('allow'), 'GET, HEAD, PUT, DELETE');
  assert.equal(await errorCode(response), 'UNSUPPORTED');
});

test('a read-only store serves pulls and refuses every push', async (t) => {
  const writable = await startRegistry(t);
  const image = await imageOf(writable, 'acme/api', 'ro');
  await pushManifest(writable, 'acme/api', 'v1', image);
  const store = await DirectoryStore.open(writable.directory);
  const readOnly = createRegistryServer({
    repositories: (page) => store.repositories(page),
    tags: (repository, page) => store.tags(repository, page),
    resolveTag: (repository, tag) => store.resolveTag(repository, tag),
    manifest: (repository, digest) => store.manifest(repository, digest),
    blob: (repository, digest) => store.blob(repository, digest),
    referrers: (repository, digest, after) => store.referrers(repository, digest, after),
  });
  t.after(() => readOnly.close());
  const { url } = await readOnly.listen('127.0.0.1', 0);
  assert.equal((await fetch(`${url}/v2/acme/api/manifests/v1`)).status, 200);
  const refused: [string, string][] = [
    ['POST', 'blobs/uploads/'],
    ['PUT', 'manifests/v1'],
    ['DELETE', 'manifests/v1'],
    ['DELETE', `blobs/${digestOf(Buffer.from('layer of ro'))}`],
    ['PATCH', 'blobs/uploads/x'],
  ];
  for (const [method, path] of refused) {
    const response = await fetch(`${url}/v2/acme/api/${path}`, { method });
    assert.equal(response.status, 405, path);
    assert.equal(await errorCode(response), 'UNSUPPORTED');
  }
  assert.equal((await fetch(`${url}/v2/acme/api/manifests/v1`)).status, 200);
});

test('all addresses are listened on where that is asked for, and a port in use is an error', async (t) => {
  const store = await DirectoryStore.open(await temporaryFolder(t));
  const remote = createRegistryServer(store);
  t.after(() => remote.close());
  const { url, port } = await remote.listen('0.0.0.0', 0);
  assert.equal(url, `http://0.0.0.0:${port}`);
  await assert.rejects(createRegistryServer(store).listen('127.0.0.1', port), (error) =>
    isAirliftError(error, 'busy'),
  );
});

test('a log has the target without values of unknown parameters', () => {
  const targets: [string, string][] = [
    ['/v2/', '/v2/'],
    ['/v2/a/manifests/1?ns=docker.io', '/v2/a/manifests/1?ns=docker.io'],
    ['/v2/a/tags/list?n=5&last=b', '/v2/a/tags/list?n=5&last=b'],
    ['/v2/?token=abc&n=1&xyz', '/v2/?token=…&n=1&…'],
  ];
  for (const [target, logged] of targets) assert.equal(loggedTarget(target), logged);
});

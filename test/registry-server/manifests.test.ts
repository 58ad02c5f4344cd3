import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import {
  dockerManifest,
  dockerManifestList,
  dockerSchema1Signed,
  ociConfig,
  ociManifest,
} from '../../src/oci/media-types.js';
import {
  built,
  errorCode,
  imageOf,
  indexOf,
  pushBlob,
  pushManifest,
  startRegistry,
  type BuiltManifest,
} from './fixture.js';

test('a manifest is refused while a blob or child that it names is missing', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'elsewhere', 'x');
  const early = await pushManifest(registry, 'acme/api', 'v1', image);
  assert.equal(early.status, 400);
  assert.equal(await errorCode(early), 'MANIFEST_BLOB_UNKNOWN');
  await imageOf(registry, 'acme/api', 'x');
  const index = indexOf([image]);
  assert.equal(
    await errorCode(await pushManifest(registry, 'acme/api', 'v1', index)),
    'MANIFEST_BLOB_UNKNOWN',
  );
  assert.equal((await registry.ask('GET', 'acme/api/tags/list')).status, 404);
  assert.equal((await pushManifest(registry, 'acme/api', image.digest, image)).status, 201);
  assert.equal((await pushManifest(registry, 'acme/api', 'v1', index)).status, 201);
});

test('a sparse index, and a manifest without its blobs, are each accepted only where that is allowed', async (t) => {
  const registry = await startRegistry(t, { allowSparse: true });
  const image = await imageOf(registry, 'elsewhere', 'x');
  assert.equal((await pushManifest(registry, 'acme/api', 'v1', indexOf([image]))).status, 201);
  assert.equal((await pushManifest(registry, 'acme/api', 'v2', image)).status, 400);
  const lenient = await startRegistry(t, { allowMissingBlobs: true });
  assert.equal((await pushManifest(lenient, 'acme/api', 'v1', indexOf([image]))).status, 400);
  assert.equal((await pushManifest(lenient, 'acme/api', 'v2', image)).status, 201);
  assert.equal((await lenient.ask('GET', 'acme/api/manifests/v2')).status, 200);
});

test('a foreign layer may be missing if its descriptor has URLs', async (t) => {
  const registry = await startRegistry(t);
  const config = Buffer.from('{}');
  await pushBlob(registry, 'a', config);
  const manifest = (more: object): BuiltManifest =>
    built({
      schemaVersion: 2,
      mediaType: dockerManifest,
      config: { mediaType: ociConfig, digest: digestOf(config), size: 2 },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
          digest: digestOf(Buffer.from('far')),
          size: 3,
          ...more,
        },
      ],
    });
  assert.equal((await pushManifest(registry, 'a', 'v1', manifest({}))).status, 400);
  const pushed = await pushManifest(registry, 'a', 'v1', manifest({ urls: ['https://example.org/far'] }));
  assert.equal(pushed.status, 201);
});

test('content that is no manifest, or has another digest, is refused', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'a', 'x');
  const cases: [string, BuiltManifest, number, string][] = [
    [digestOf(Buffer.from('other')), image, 400, 'DIGEST_INVALID'],
    ['-not-a-tag', image, 400, 'MANIFEST_INVALID'],
    [`${image.digest}?tag=-x`, image, 400, 'MANIFEST_INVALID'],
    ['v1', { ...image, bytes: Buffer.from('<html>') }, 400, 'MANIFEST_INVALID'],
    ['v1', { ...image, bytes: Buffer.from('{}') }, 400, 'MANIFEST_INVALID'],
    ['v1', { ...image, mediaType: dockerManifestList }, 400, 'MANIFEST_INVALID'],
    ['v1', built({ schemaVersion: 1, mediaType: dockerSchema1Signed }), 415, 'UNSUPPORTED'],
    ['v1', built({ schemaVersion: 2, mediaType: 'text/plain' }), 415, 'UNSUPPORTED'],
  ];
  for (const [reference, manifest, status, code] of cases) {
    const refused = await pushManifest(registry, 'a', reference, manifest);
    assert.equal(refused.status, status, reference);
    assert.equal(await errorCode(refused), code);
  }
  assert.equal((await registry.ask('GET', '_catalog')).status, 200);
  assert.equal((await registry.ask('HEAD', 'a/manifests/v1')).status, 404);
});

test('a manifest of 4 MiB is accepted, a larger one is refused, with and without a length', async (t) => {
  const registry = await startRegistry(t);
  const sized = async (bytes: number): Promise<BuiltManifest> => {
    const empty = await imageOf(registry, 'a', 'x', { annotations: { long: '' } });
    return await imageOf(registry, 'a', 'x', {
      annotations: { long: 'x'.repeat(bytes - empty.bytes.length) },
    });
  };
  const most = 4 * 1024 * 1024;
  assert.equal((await pushManifest(registry, 'a', 'most', await sized(most))).status, 201);
  const larger = await sized(most + 1);
  assert.equal(await errorCode(await pushManifest(registry, 'a', 'more', larger)), 'SIZE_INVALID');
  const streamed = await registry.ask('PUT', 'a/manifests/more', {
    headers: { 'Content-Type': ociManifest },
    body: new ReadableStream({
      start(controller) {
        controller.enqueue(larger.bytes);
        controller.close();
      },
    }),
  });
  assert.equal(streamed.status, 413);
  await streamed.arrayBuffer();
  assert.equal((await registry.ask('HEAD', 'a/manifests/more')).status, 404);
});

test('a tag moves; deleting a tag keeps the manifest, deleting a manifest removes its tags', async (t) => {
  const registry = await startRegistry(t);
  const [one, two] = [await imageOf(registry, 'a', 'one'), await imageOf(registry, 'a', 'two')];
  for (const tag of ['v1', 'v2', 'latest']) await pushManifest(registry, 'a', tag, one);
  await pushManifest(registry, 'a', 'latest', two);
  const head = async (reference: string): Promise<number> =>
    (await registry.ask('HEAD', `a/manifests/${reference}`)).status;
  assert.equal((await registry.ask('DELETE', 'a/manifests/v1')).status, 202);
  assert.equal((await registry.ask('DELETE', 'a/manifests/v1')).status, 404);
  assert.deepEqual([await head('v1'), await head('v2'), await head(one.digest)], [404, 200, 200]);
  assert.equal((await registry.ask('DELETE', `a/manifests/${one.digest}`)).status, 202);
  assert.equal((await registry.ask('DELETE', `a/manifests/${one.digest}`)).status, 404);
  const tags = (await (await registry.ask('GET', 'a/tags/list')).json()) as { tags: string[] };
  assert.deepEqual(tags.tags, ['latest']);
  assert.equal(await head('latest'), 200);
  const layer = digestOf(Buffer.from('layer of one'));
  assert.equal((await registry.ask('DELETE', `a/blobs/${layer}`)).status, 202);
  assert.equal((await registry.ask('DELETE', `a/blobs/${layer}`)).status, 404);
  assert.equal((await registry.ask('GET', `a/blobs/${layer}`)).status, 404);
});

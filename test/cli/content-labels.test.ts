import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { bytesOf, testDigest } from '../support/content.js';
import { startFaultProxy } from '../support/faults.js';
import { multiPlatform } from '../support/image-sets.js';
import { assemble, layer, plainBlob, types, type Layer, type TestImage } from '../support/images.js';
import { writeOciLayout } from '../support/oci-layout.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';
import { startOddServer } from '../registry/odd-server.js';

/** Starts a registry that returns a fixed Content-Type, or none, for manifests. */
async function mislabelling(t: Cleanup, upstream: string, type: string | undefined): Promise<string> {
  const [host, port] = upstream.split(':');
  const server = await startOddServer(t, (request, response) => {
    const { method, url: path = '', headers } = request;
    const onward = httpRequest({ host, port, path, method, headers }, (answer) => {
      const changedHeaders = { ...answer.headers };
      if (path.includes('/manifests/') && answer.statusCode === 200) {
        delete changedHeaders['content-type'];
        if (type !== undefined) changedHeaders['content-type'] = type;
      }
      response.writeHead(answer.statusCode ?? 0, changedHeaders);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  return server.host;
}

/** Moves an image by export, verify and import, and by copy; returns the site with both results. */
async function carry(t: Cleanup, source: string, ...flags: string[]): Promise<string> {
  const site = await serveStore(t);
  const bundle = join(temp(t), 'site.tar');
  await airlift(['export', `${source}/acme/app:1`, '-o', bundle, '--retries', '1', ...flags]);
  await airlift(['verify', bundle]);
  await airlift(['import', bundle, '--to', site]);
  await airlift(['copy', `${source}/acme/app:1`, '--to', `${site}/copied`, '--retries', '1', ...flags]);
  return site;
}

async function arrives(t: Cleanup, source: string, image: TestImage): Promise<void> {
  const site = await carry(t, source);
  for (const repository of ['acme/app', 'copied/acme/app']) {
    const base = `/v2/${repository}`;
    const tagged = await askRegistry(site, { method: 'GET', path: `${base}/manifests/1` });
    assert.equal(testDigest(tagged.body), image.root.digest);
    for (const [kind, contents] of [
      ['manifests', image.manifests],
      ['blobs', image.blobs],
    ] as const)
      for (const { digest } of contents.values()) {
        const { status, body } = await askRegistry(site, {
          method: 'GET',
          path: `${base}/${kind}/${digest}`,
        });
        assert.equal(status, 200, `${kind}/${digest} of ${repository}`);
        assert.equal(testDigest(body), digest);
      }
  }
}

const labels = [
  'text/plain',
  'application/json',
  'application/octet-stream',
  'text/html',
  undefined,
  types.oci.manifest, // of an index, too
  types.docker.index,
  'application/vnd.docker.distribution.manifest.v1+prettyjws', // Docker schema 1, which the content is not
];
for (const label of labels)
  test(`a manifest with Content-Type ${label ?? '(none)'} is classified by its content`, async (t) => {
    const store = await serveStore(t);
    for (const flavour of ['oci', 'docker'] as const) {
      const image = multiPlatform({ name: 'labels', flavour, platforms: ['linux/amd64', 'linux/arm64'] });
      await pushImage(store, 'acme/app', '1', image);
      const site = await carry(
        t,
        await mislabelling(t, store, label),
        '--platform',
        'linux/amd64,linux/arm64',
      );
      for (const repository of ['acme/app', 'copied/acme/app']) {
        const { content } = await walkRegistry(site, repository, '1');
        sameContent(content, await walkImage(image));
      }
    }
  });

test('a manifest without mediaType is classified by its fields', async (t) => {
  const store = await serveStore(t);
  const config = plainBlob('{}', types.oci.config);
  const image = assemble({ schemaVersion: 2, config: config.descriptor, layers: [] } as never, {
    blobs: [config.content],
  });
  const manifest = [...image.manifests.values()][0] ?? assert.fail();
  const labelled: TestImage = {
    ...image,
    root: { ...image.root, mediaType: types.oci.manifest },
    manifests: new Map([[manifest.digest, { ...manifest, mediaType: types.oci.manifest }]]),
  };
  await pushImage(store, 'acme/app', '1', labelled);
  await arrives(t, await mislabelling(t, store, 'application/json'), labelled);
});

const part = (text: string, mediaType: string): Layer => plainBlob(text, mediaType);

test('layers and configs are blobs, whatever their media types', async (t) => {
  const store = await serveStore(t);
  const inner = [...multiPlatform({ name: 'inner' }).manifests.values()].at(-1) ?? assert.fail();
  const layers = [
    part(bytesOf(inner).toString(), types.oci.index),
    part('not JSON', types.docker.manifest),
    part('{"schemaVersion":1}', 'application/vnd.docker.distribution.manifest.v1+json'),
  ];
  const config = part('[]', types.oci.index);
  const artifact = assemble(
    {
      schemaVersion: 2,
      mediaType: types.oci.manifest,
      artifactType: 'application/vnd.example.mirror',
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
    },
    { blobs: [config, ...layers].map(({ content }) => content) },
  );
  await pushImage(store, 'acme/app', '1', artifact);
  await arrives(t, store, artifact);
});

/** A cache as BuildKit exports it: an index of layers with its own config. */
function buildCache(...names: string[]): { image: TestImage; layers: Layer[] } {
  const layers = [
    ...names.map((name) => layer([{ name, content: name }])),
    part('{"layers":[]}', 'application/vnd.buildkit.cacheconfig.v0'),
  ];
  const image = assemble(
    {
      schemaVersion: 2,
      mediaType: types.oci.index,
      manifests: layers.map(({ descriptor }) => descriptor),
    },
    { blobs: layers.map(({ content }) => content) },
  );
  return { image, layers };
}

test('a build cache (an index of layers with its own config) is exported and imported', async (t) => {
  const store = await serveStore(t);
  const { image: cache } = buildCache('a', 'b');
  await pushImage(store, 'acme/app', '1', cache);
  await arrives(t, store, cache);
  const site = await carry(t, store, '--platform', 'linux/amd64');
  const tagged = await askRegistry(site, { method: 'GET', path: '/v2/acme/app/manifests/1' });
  assert.equal(testDigest(tagged.body), cache.root.digest, 'an index without platforms stays complete');
});

test('a build cache in an OCI layout is imported, and rejected if a layer is missing', async (t) => {
  const { image: cache, layers } = buildCache('a');
  const dir = temp(t);
  await writeOciLayout(dir, [{ name: 'latest', image: cache }]);
  const site = await serveStore(t);
  await airlift(['import', dir, '--name', 'acme/cache:1', '--to', site]);
  const tagged = await askRegistry(site, { method: 'GET', path: '/v2/acme/cache/manifests/1' });
  assert.equal(testDigest(tagged.body), cache.root.digest);
  for (const { descriptor } of layers) {
    const path = `/v2/acme/cache/blobs/${descriptor.digest}`;
    const { body } = await askRegistry(site, { method: 'GET', path });
    assert.equal(testDigest(body), descriptor.digest);
  }
  const [algorithm = '', hex = ''] = (layers[0]?.descriptor.digest ?? '').split(':');
  await rm(join(dir, 'blobs', algorithm, hex));
  const again = ['import', dir, '--name', 'acme/cache:2', '--to', site];
  const refused = await airlift(again, { codes: [1, 4] });
  assert.match(refused.stderr, new RegExp(hex));
});

test('inline data of a descriptor is used if the registry lacks the blob', async (t) => {
  const store = await serveStore(t);
  const config = part('{"made":"for this"}', 'application/vnd.example.config.v1+json');
  const inline = part('inline', 'text/plain');
  const held = part('held', 'text/plain');
  const carrying = ({ descriptor, content }: Layer): Layer['descriptor'] => ({
    ...descriptor,
    data: (content === undefined ? Buffer.alloc(0) : bytesOf(content)).toString('base64'),
  });
  const artifact = assemble(
    {
      schemaVersion: 2,
      mediaType: types.oci.manifest,
      config: carrying(config),
      layers: [carrying(inline), held.descriptor],
    },
    { blobs: [config, inline, held].map(({ content }) => content) },
  );
  await pushImage(store, 'acme/app', '1', artifact);
  const missingDigests = [config, inline].map(({ descriptor }) => descriptor.digest).join('|');
  const source = await startFaultProxy({
    upstream: `http://${store}`,
    rules: [{ path: new RegExp(`/blobs/(?:${missingDigests})`), fault: { do: 'answer', status: 404 } }],
  });
  t.after(() => source.stop());
  await arrives(t, source.host, artifact);
});

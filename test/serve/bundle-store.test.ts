import assert from 'node:assert/strict';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { serve, type Serving } from '../../src/serve/serve.js';
import { everyKind, writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { startContainerd } from '../support/containerd.js';
import { bytesOf } from '../support/content.js';
import { assortment, commonPlatforms, multiPlatform, singlePlatform } from '../support/image-sets.js';
import { indexOf, type TestImage } from '../support/images.js';
import { needs } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

async function start(
  t: TestContext,
  cargo: readonly Cargo[],
): Promise<Serving & { path: string; address: string }> {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  const serving = await serve({ inputs: [path] }, { port: 0 });
  t.after(() => serving.close());
  return { ...serving, path, address: `${serving.host}:${serving.port}` };
}

async function ask(
  serving: Serving,
  path: string,
  init: RequestInit = {},
): Promise<[number, Buffer, Headers]> {
  const response = await fetch(`${serving.url}/v2/${path}`, init);
  return [response.status, Buffer.from(await response.arrayBuffer()), response.headers];
}

test('every kind of image is pulled from a bundle byte for byte, under both of its names', async (t) => {
  const serving = await start(t, everyKind());
  assert.deepEqual(serving.ambiguous, []);
  for (const [kind, { repository, tag, image }] of Object.entries(assortment())) {
    // What this one leaves out, another image has: in a bundle no blob is kept from anyone.
    if (kind === 'foreign') continue;
    for (const name of [repository, `registry.example/${repository}`]) {
      const walked = await walkRegistry(serving.address, name, tag ?? image.root.digest);
      assert.equal(walked.root.digest, image.root.digest);
      sameContent(walked.content, await walkImage(image));
    }
  }
  const { signed } = assortment();
  assert.ok(signed !== undefined);
  const [, list] = await ask(serving, `${signed.repository}/referrers/${signed.image.root.digest}`);
  const { manifests } = JSON.parse(list.toString()) as { manifests: { digest: string }[] };
  assert.equal(manifests.length, 1);
  await walkRegistry(serving.address, signed.repository, manifests[0]?.digest ?? '');
  const signature = signed.image.root.digest.replace(':', '-');
  await walkRegistry(serving.address, signed.repository, `${signature}.sig`);
  const [, tags] = await ask(serving, `${signed.repository}/tags/list`);
  assert.deepEqual((JSON.parse(tags.toString()) as { tags: string[] }).tags, ['1', `${signature}.sig`]);
});

test('the tag of a filtered image gives the filtered index, and the publisher’s digest gives the publisher’s index', async (t) => {
  const original = multiPlatform({ name: 'web', bigBytes: 200_000 });
  const kept = commonPlatforms
    .slice(0, 2)
    .map((platform) => singlePlatform(platform, { name: 'web', bigBytes: 200_000 }));
  const image = indexOf({ children: kept, annotations: { note: 'filtered' } });
  const serving = await start(t, [{ reference: 'docker.io/acme/web:1.0', image, original }]);
  const { root, content } = await walkRegistry(serving.address, 'acme/web', '1.0');
  assert.equal(root.digest, image.root.digest);
  sameContent(content, await walkImage(image));
  const published = original.manifests.get(original.root.digest);
  assert.ok(published !== undefined);
  const [status, bytes] = await ask(serving, `acme/web/manifests/${original.root.digest}`);
  assert.equal(status, 200);
  assert.deepEqual(bytes, bytesOf(published));
  const children = [...original.manifests.keys()].slice(0, 3);
  const statuses = await Promise.all(
    children.map(async (digest) => (await ask(serving, `acme/web/manifests/${digest}`))[0]),
  );
  assert.deepEqual(statuses, [200, 200, 404]);
  for (const blob of image.blobs.values()) {
    if (blob.size < 100_000) continue;
    const headers = { Range: 'bytes=70000-' };
    const [partial, part] = await ask(serving, `acme/web/blobs/${blob.digest}`, { headers });
    assert.equal(partial, 206);
    assert.deepEqual(part, bytesOf(blob).subarray(70_000));
  }
});

test('a bundle refuses pushes and unknown repositories', async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'api' });
  const serving = await start(t, [{ reference: 'docker.io/acme/api:1', image }]);
  for (const [method, path] of [
    ['POST', 'acme/api/blobs/uploads/'],
    ['PUT', 'acme/api/manifests/1'],
    ['DELETE', `acme/api/manifests/${image.root.digest}`],
  ] as const) {
    const [status, body] = await ask(serving, path, { method });
    assert.equal(status, 405);
    assert.match(body.toString(), /"UNSUPPORTED"/);
  }
  assert.equal((await ask(serving, `acme/other/manifests/${image.root.digest}`))[0], 404);
  assert.equal((await ask(serving, 'acme/other/tags/list'))[0], 404);
  assert.equal((await ask(serving, `acme/api/blobs/${image.root.digest}`))[0], 404);
  const [, list] = await ask(serving, '_catalog');
  assert.deepEqual(JSON.parse(list.toString()), { repositories: ['acme/api', 'docker.io/acme/api'] });
});

/** Images of two registries that share a path: `1` means two things, `2` one. */
function namesakes(): { cargo: Cargo[]; hub: TestImage; quay: TestImage } {
  const [hub, quay] = [multiPlatform({ name: 'hub' }), multiPlatform({ name: 'quay' })];
  const cargo = [
    { reference: 'docker.io/acme/web:1', image: hub },
    { reference: 'quay.example/acme/web:1', image: quay },
    { reference: 'docker.io/acme/web:2', image: hub },
    { reference: 'quay.example/acme/web:2', image: hub },
    { reference: 'quay.example:8443/acme/web:3', image: quay },
  ];
  return { cargo, hub, quay };
}

test('a name that means two images is not served, but its full names and mirrors are', async (t) => {
  const { cargo, hub, quay } = namesakes();
  const serving = await start(t, cargo);
  assert.deepEqual([...serving.ambiguous].sort(), ['docker.io/acme/web:1', 'quay.example/acme/web:1']);
  const digestAt = async (path: string): Promise<string | null> =>
    (await ask(serving, path))[2].get('docker-content-digest');
  assert.equal(await digestAt('acme/web/manifests/1'), null);
  assert.equal(await digestAt('acme/web/manifests/2'), hub.root.digest);
  assert.equal(await digestAt('acme/web/manifests/3'), quay.root.digest);
  assert.equal(await digestAt('docker.io/acme/web/manifests/1'), hub.root.digest);
  assert.equal(await digestAt('quay.example/acme/web/manifests/1'), quay.root.digest);
  assert.equal(await digestAt('acme/web/manifests/1?ns=docker.io'), hub.root.digest);
  assert.equal(await digestAt('acme/web/manifests/1?ns=quay.example'), quay.root.digest);
  assert.equal(await digestAt('acme/web/manifests/3?ns=quay.example:8443'), quay.root.digest);
  const [, tags] = await ask(serving, 'acme/web/tags/list');
  assert.deepEqual((JSON.parse(tags.toString()) as { tags: string[] }).tags, ['2', '3']);
});

test(
  'containerd pulls through it as a mirror, under the names of the registries',
  { skip: needs('containerd') },
  async (t) => {
    const { cargo, hub, quay } = namesakes();
    const serving = await start(t, cargo);
    const hosts = temp(t);
    for (const registry of ['docker.io', 'quay.example']) {
      await mkdir(join(hosts, registry));
      const mirror = `server = "http://127.0.0.1:1"\n[host."${serving.url}"]\n  capabilities = ["pull", "resolve"]\n`;
      await writeFile(join(hosts, registry, 'hosts.toml'), mirror);
    }
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    for (const [name, image] of [
      ['docker.io/acme/web:1', hub],
      ['quay.example/acme/web:1', quay],
    ] as const) {
      await containerd.ctr(['content', 'fetch', '--hosts-dir', hosts, '--all-platforms', name]);
      const { stdout } = await containerd.ctr(['images', 'ls', `name==${name}`]);
      assert.ok(stdout.includes(image.root.digest), stdout);
    }
  },
);

test('a small blob that is damaged in the bundle is an error, never wrong content', async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'api' });
  const serving = await start(t, [{ reference: 'docker.io/acme/api:1', image }]);
  const reader = await BundleReader.open(serving.path);
  const [blob] = image.blobs.values();
  assert.ok(blob !== undefined);
  const position = reader.position(blob.digest) ?? 0;
  await reader.close();
  const file = await open(serving.path, 'r+');
  await file.write(
    Buffer.from([bytesOf(blob)[0] ?? 0]).map((byte) => byte ^ 1),
    0,
    1,
    position,
  );
  await file.close();
  const [status, body] = await ask(serving, `acme/api/blobs/${blob.digest}`);
  assert.equal(status, 500);
  assert.match(body.toString(), /digest mismatch/);
});

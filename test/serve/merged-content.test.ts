import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isAirliftError } from '../../src/errors.js';
import { importImages } from '../../src/import/import.js';
import { serve, type Serving } from '../../src/serve/serve.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { elfFile } from '../support/elf.js';
import { assortment, multiPlatform } from '../support/image-sets.js';
import { imageOf, layer, type TestImage } from '../support/images.js';
import { needs } from '../support/peers.js';
import { layoutMembers, savedMembers } from '../support/saved.js';
import { storedZstd } from '../support/stored.js';
import { tarOf } from '../support/tar.js';
import { temp } from '../support/temp.js';
import { sameContent, walkRegistry } from '../support/walk.js';

const limit = { timeout: 120_000 };
const names = ['rancher/pause:3.6', 'rancher/klipper-lb:v0.4.0'];
const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'] as const;

/** An image with uncompressed layers: a small one that all images share, and one over 64 KiB that compresses badly. */
function vendorImage(name: string, platform: string): TestImage {
  const shared = layer([{ name: 'etc/os-release', content: 'NAME=test' }], { compression: 'none' });
  const noise = createHash('shake256', { outputLength: 300_000 }).update(`${name} ${platform}`).digest();
  const program = elfFile(platform, `\n${name} for ${platform}\n`);
  const content = Buffer.concat([program, noise]);
  const own = layer([{ name: 'bin/app', content, mode: 0o755 }], { compression: 'none' });
  return imageOf({ platform, layers: [shared, own] });
}

/** Writes a bundle and a vendor's archive for each platform: plain, gzip and zstd. */
async function writeInputs(t: TestContext): Promise<string[]> {
  const dir = temp(t);
  const bundle = join(dir, 'site.tar');
  await writeBundle(bundle, everyKind());
  const inputs = [bundle];
  for (const [at, platform] of platforms.entries()) {
    const images = names.map((name) => ({ tags: [name], image: vendorImage(name, platform) }));
    const tar = tarOf(savedMembers(at === 1 ? 'podman' : 'docker-20', images));
    const ending = ['tar', 'tar.gz', 'tar.zst'][at] ?? '';
    const path = join(dir, `k3s-airgap-images-${platform.split('/')[1]}.${ending}`);
    await writeFile(path, [tar, gzipSync(tar), storedZstd(tar)][at] ?? tar);
    inputs.push(path);
  }
  return inputs;
}

async function started(t: TestContext, inputs: readonly string[], tmpDir?: string): Promise<Serving> {
  const serving = await serve({ inputs, archives: { tmpDir } }, { port: 0 });
  t.after(() => serving.close());
  return serving;
}

async function listed(host: string, path: string): Promise<string[]> {
  const found = (await (await fetch(`http://${host}/v2/${path}`)).json()) as {
    repositories?: string[];
    tags?: string[];
  };
  return found.repositories ?? found.tags ?? [];
}

test(
  'a bundle and archives are served with the digests and content that an import publishes',
  { ...limit, skip: needs('docker-registry') },
  async (t) => {
    const inputs = await writeInputs(t);
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    await importImages({ inputs, to: { registry: registry.host }, registry: {}, keepGoing: true }).catch(
      (error: unknown) => assert.ok(isAirliftError(error, 'partial')),
    );
    const { host, port } = await started(t, inputs);
    const served = `${host}:${port}`;
    const repositories = await listed(registry.host, '_catalog');
    let tags = 0;
    for (const repository of repositories) {
      const want = (await listed(registry.host, `${repository}/tags/list`)).sort();
      const got = await listed(served, `${repository}/tags/list`);
      for (const tag of want) {
        // docker-registry has no referrers API, so an import stores the lists under tags.
        if (/^sha\d+-[0-9a-f]+$/.test(tag)) continue;
        assert.ok(got.includes(tag), `${repository}:${tag}`);
        const [imported, walked] = [
          await walkRegistry(registry.host, repository, tag),
          await walkRegistry(served, repository, tag),
        ];
        assert.equal(walked.root.digest, imported.root.digest, `${repository}:${tag}`);
        sameContent(walked.content, imported.content);
        tags++;
      }
    }
    for (const name of names) assert.ok(repositories.includes(name.split(':')[0] ?? ''));
    assert.ok(tags >= 8, `${tags} tags`);
  },
);

test('every kind of image is served from a bundle next to archives', limit, async (t) => {
  const { host, port } = await started(t, await writeInputs(t));
  for (const [kind, { repository, tag, image }] of Object.entries(assortment())) {
    // Archives do not tell which foreign layers were left out on purpose.
    if (kind === 'foreign') continue;
    for (const name of [repository, `registry.example/${repository}`]) {
      const walked = await walkRegistry(`${host}:${port}`, name, tag ?? image.root.digest);
      assert.equal(walked.root.digest, image.root.digest);
    }
  }
  const { signed } = assortment();
  const list = await fetch(
    `http://${host}:${port}/v2/${signed?.repository}/referrers/${signed?.image.root.digest}`,
  );
  assert.equal(((await list.json()) as { manifests: unknown[] }).manifests.length, 1);
});

test('a part of a layer that was compressed for serving is sent by its range', limit, async (t) => {
  const serving = await started(t, await writeInputs(t));
  const base = `${serving.url}/v2/rancher/pause`;
  const accept = { headers: { Accept: 'application/vnd.oci.image.index.v1+json' } };
  const index = (await (await fetch(`${base}/manifests/3.6`, accept)).json()) as {
    manifests: { digest: string; platform: { architecture: string } }[];
  };
  assert.deepEqual(index.manifests.map(({ platform }) => platform.architecture).sort(), [
    'amd64',
    'arm',
    'arm64',
  ]);
  const child = (await (await fetch(`${base}/manifests/${index.manifests[0]?.digest}`)).json()) as {
    layers: { digest: string; size: number }[];
  };
  const large = child.layers.find(({ size }) => size > 100_000);
  const whole = Buffer.from(await (await fetch(`${base}/blobs/${large?.digest}`)).arrayBuffer());
  const part = await fetch(`${base}/blobs/${large?.digest}`, { headers: { Range: 'bytes=70000-80000' } });
  assert.equal(part.status, 206);
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), whole.subarray(70_000, 80_001));
});

test(
  'serving ends when an archive that is read in place changes, and not when a compressed one does',
  limit,
  async (t) => {
    const inputs = await writeInputs(t);
    const serving = await started(t, inputs);
    await writeFile(inputs[2] ?? '', 'another file');
    assert.equal((await fetch(`${serving.url}/v2/rancher/pause/tags/list`)).status, 200);
    await writeFile(inputs[1] ?? '', 'another file');
    await assert.rejects(serving.broken, /k3s-airgap-images-amd64\.tar: .*; stopped/);
  },
);

test(
  'inputs that contradict each other, and a full disk, are errors before anything is served',
  limit,
  async (t) => {
    const dir = temp(t);
    const paths = [join(dir, 'a.tar'), join(dir, 'b.tar')];
    for (const [at, path] of paths.entries()) {
      const image = vendorImage(`x${'y'.repeat(at)}`, 'linux/amd64');
      await writeFile(path, tarOf(savedMembers('docker-20', [{ tags: ['acme/app:1'], image }])));
    }
    await assert.rejects(serve({ inputs: paths }, { port: 0 }), /merge acme\/app:1: two different images/);
    const zipped = join(dir, 'c.tar.gz');
    await writeFile(
      zipped,
      gzipSync(tarOf(layoutMembers([{ name: 'x:1', image: multiPlatform({ name: 'x' }) }]))),
    );
    await assert.rejects(
      serve({ inputs: [zipped], archives: { tmpDir: '/proc' } }, { port: 0 }),
      /create a temporary file in \/proc/,
    );
  },
);

test('a port in use is an error that names the next command, and closes the inputs', limit, async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const inputs = await writeInputs(t);
  await assert.rejects(serve({ inputs }, { port }), (error) => {
    assert.ok(isAirliftError(error, 'busy'));
    assert.match(error.hint ?? '', /choose another port/);
    return true;
  });
});

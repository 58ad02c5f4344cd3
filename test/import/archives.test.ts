import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { isAirliftError } from '../../src/errors.js';
import { importImages, type ImportOptions, type ImportSummary } from '../../src/import/import.js';
import { serve } from '../../src/serve/serve.js';
import { airlift } from '../support/airlift.js';
import { testDigest } from '../support/content.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { elfFile } from '../support/elf.js';
import { imageOf, indexOf, layer, type DescriptorJson, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { askRegistry } from '../support/registry-http.js';
import { layoutMembers, savedMembers, type SavedShape } from '../support/saved.js';
import { tarOf, type TarMember } from '../support/tar.js';
import { temp } from '../support/temp.js';
import { walkRegistry } from '../support/walk.js';

/** The images of k3s 1.21, which exist for three architectures. */
const k3sImages = [
  'rancher/coredns-coredns:1.8.3',
  'rancher/klipper-helm:v0.4.3',
  'rancher/klipper-lb:v0.2.0',
  'rancher/library-busybox:1.32.1',
  'rancher/library-traefik:2.4.8',
  'rancher/local-path-provisioner:v0.0.19',
  'rancher/metrics-server:v0.3.6',
  'rancher/pause:3.1',
];
const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'];

const base = layer(
  [
    { name: 'etc/', type: 'directory' },
    { name: 'etc/os-release', content: 'NAME=test' },
  ],
  { compression: 'none' },
);

/** Returns an image whose program names it and its platform. As in reality, the arm config of the pause image states amd64. */
function k3sImage(name: string, platform: string): TestImage {
  const hasWrongConfig = name === 'rancher/pause:3.1' && platform === 'linux/arm/v7';
  const program: TarMember = {
    name: 'bin/app',
    content: elfFile(platform, `\n${name} for ${platform}\n`),
    mode: 0o755,
  };
  return imageOf({
    platform: hasWrongConfig ? 'linux/amd64' : platform,
    layers: [base, layer([program], { compression: 'none' })],
  });
}

function k3sMembers(shape: SavedShape, platform: string): TarMember[] {
  return savedMembers(
    shape,
    k3sImages.map((name) => ({ tags: [name], image: k3sImage(name, platform) })),
  );
}

/** Imports into `host`, and returns the summary with all warnings. */
async function imported(
  host: string,
  options: Partial<ImportOptions> & Pick<ImportOptions, 'inputs'>,
): Promise<ImportSummary & { readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  const summary = await importImages({
    to: { registry: host },
    registry: {},
    onEvent: (event) =>
      event.event === 'warning' && warnings.push(event.message.replaceAll(/\/tmp\/\S+\/(?=k3s)/g, '')),
    ...options,
  });
  return { ...summary, warnings };
}

async function json<T>(host: string, path: string): Promise<T> {
  const accept = ['manifest.v1+json', 'index.v1+json']
    .map((type) => `application/vnd.oci.image.${type}`)
    .join();
  const { status, body } = await askRegistry(host, { method: 'GET', path, headers: { accept } });
  assert.equal(status, 200, `GET ${path}`);
  return JSON.parse(body.toString()) as T;
}

/** Returns the text line of the program for each platform of an image in a registry. */
async function programsOf(host: string, name: string): Promise<Record<string, string | undefined>> {
  const [repository = '', tag = ''] = name.split(':');
  const index = await json<{ manifests: DescriptorJson[] }>(host, `/v2/${repository}/manifests/${tag}`);
  const programs: Record<string, string | undefined> = {};
  for (const { digest, platform } of index.manifests) {
    const manifest = await json<{ layers: DescriptorJson[] }>(host, `/v2/${repository}/manifests/${digest}`);
    const top = manifest.layers.at(-1)?.digest;
    const { body } = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/blobs/${top}` });
    const key = [platform?.os, platform?.architecture, platform?.variant]
      .filter((part) => part !== undefined)
      .join('/');
    programs[key] = /^\S+ for \S+$/m.exec(gunzipSync(body).toString('latin1'))?.[0];
  }
  return programs;
}

async function assertAllImages(host: string): Promise<void> {
  for (const name of k3sImages) {
    const want = Object.fromEntries(platforms.map((platform) => [platform, `${name} for ${platform}`]));
    assert.deepEqual(await programsOf(host, name), want);
    const [repository = '', tag = ''] = name.split(':');
    await walkRegistry(host, repository, tag);
  }
}

async function startRegistry(t: TestContext): Promise<string> {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  return registry.host;
}

/** Returns the paths of the manifests that docker-registry stores. */
async function manifestsStored(dir: string): Promise<string[]> {
  const paths = await readdir(dir, { recursive: true });
  return paths.filter((path) => /\/_manifests\/revisions\//.test(path));
}

async function written(dir: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, bytes);
  return path;
}

const required = { skip: needs('docker-registry', 'zstd') };

suite('importing archives of one platform each', { timeout: 180_000 }, () => {
  test(
    'eight images of k3s in three formats and compressions: all 24 are published correctly',
    required,
    async (t) => {
      const dir = temp(t);
      const tmpDir = join(dir, 'tmp');
      await mkdir(tmpDir);
      const host = await startRegistry(t);
      const [amd64, arm64, arm] = platforms as [string, string, string];
      const zstd = await run('zstd', ['-q', '-c', '-16', '--long=25'], {
        input: tarOf(k3sMembers('docker-25', arm64)),
      });
      const inputs = [
        await written(dir, 'k3s-airgap-images-amd64.tar.gz', gzipSync(tarOf(k3sMembers('docker-20', amd64)))),
        await written(dir, 'k3s-airgap-images-arm64.tar.zst', zstd.bytes),
        await written(dir, 'k3s-airgap-images-arm.tar', tarOf(k3sMembers('podman', arm))),
      ];
      const { published, warnings } = await imported(host, { inputs, archives: { tmpDir }, archTags: true });
      assert.deepEqual(warnings, [
        'rancher/pause:3.1 in k3s-airgap-images-arm.tar: config says linux/amd64, executables are arm; published as linux/arm/v7',
      ]);
      await assertAllImages(host);
      assert.equal(published.length, 32);
      const tags = await json<{ tags: string[] }>(host, '/v2/rancher/pause/tags/list');
      assert.deepEqual(tags.tags.sort(), ['3.1', '3.1-amd64', '3.1-arm', '3.1-arm64']);
      const arm64Alone = await json<{ config: DescriptorJson }>(
        host,
        '/v2/rancher/pause/manifests/3.1-arm64',
      );
      const config = await json<{ architecture: string }>(
        host,
        `/v2/rancher/pause/blobs/${arm64Alone.config.digest}`,
      );
      assert.equal(config.architecture, 'arm64');
      assert.deepEqual(await readdir(tmpDir), []);

      const again = await imported(host, { inputs: inputs.toReversed() });
      assert.deepEqual(
        again.published.map(({ outcome }) => outcome),
        k3sImages.map(() => 'unchanged'),
      );
      assert.equal(again.uploadedBlobs, 0);
    },
  );

  test('the same with the command line, from a pipe, with names from flags', required, async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const cache = join(dir, 'cache');
    const [amd64, , arm] = platforms as [string, string, string];
    const one = (platform: string): Uint8Array =>
      tarOf(savedMembers('crane', [{ tags: ['x/y:i-was-a-digest'], image: k3sImage('app', platform) }]));
    const path = await written(dir, 'a.tar', one(amd64));
    const flags = [
      '--to',
      host,
      '--name',
      'team/app:1.0',
      '--arch',
      'a.tar=linux/amd64',
      '--arch=-=linux/arm/v6',
    ];
    const ran = await airlift(['import', path, '-', ...flags, '--json'], {
      input: gzipSync(one(arm)),
      env: { XDG_CACHE_HOME: cache },
    });
    const events = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; images?: number });
    assert.deepEqual(events.filter(({ event }) => event === 'reading').length, 2);
    assert.equal(events.at(-1)?.images, 1);
    assert.deepEqual(await programsOf(host, 'team/app:1.0'), {
      'linux/amd64': 'app for linux/amd64',
      'linux/arm/v6': 'app for linux/arm/v7',
    });
    const dry = await airlift(['import', path, ...flags.slice(0, 4), '--dry-run'], {
      env: { XDG_CACHE_HOME: cache },
    });
    assert.match(dry.stdout, /docker\.io\/team\/app:1\.0 +127\.0\.0\.1:\d+\/team\/app:1\.0 +sha256:/);
    const wrong = await airlift(['import', path, '--to', host, '--arch', 'b.tar=linux/arm64'], {
      codes: [2],
    });
    assert.match(wrong.stderr, /--arch b\.tar=linux\/arm64: got 0 matching inputs, want one\n\s+hint: /);
  });

  test('into a bundle, which imports like the archives', required, async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const inputs = [];
    for (const [at, shape] of (['docker-20', 'podman', 'docker-25'] as const).entries()) {
      const platform = platforms[at] ?? '';
      inputs.push(await written(dir, `${platform.split('/')[1]}.tar`, tarOf(k3sMembers(shape, platform))));
    }
    const env = { XDG_CACHE_HOME: join(dir, 'cache'), SOURCE_DATE_EPOCH: '1700000000' };
    await airlift(['import', ...inputs, '-o', join(dir, 'merged.tar')], { env });
    await airlift(['import', ...inputs.toReversed(), '-o', join(dir, 'again.tar')], { env });
    const bundle = await readFile(join(dir, 'merged.tar'));
    assert.ok(bundle.equals(await readFile(join(dir, 'again.tar'))), 'the same bytes');
    await airlift(['verify', join(dir, 'merged.tar')]);
    await airlift(['import', join(dir, 'merged.tar'), '--to', host]);
    await assertAllImages(host);
    const { published } = await imported(host, { inputs });
    assert.deepEqual(
      published.map(({ outcome }) => outcome),
      k3sImages.map(() => 'unchanged'),
    );
    const mixed = await imported(host, { inputs: [join(dir, 'merged.tar'), inputs[0] ?? ''] });
    assert.deepEqual(
      mixed.published.map(({ outcome }) => outcome),
      k3sImages.map(() => 'unchanged'),
    );
    await airlift(['import', ...inputs, '-o', join(dir, 'merged.tar')], { env, codes: [1] });
    await airlift(['import', ...inputs], { env, codes: [2] });
  });

  test('no manifest is pushed if an archive is damaged or incomplete', required, async (t) => {
    const dir = temp(t);
    const tmpDir = join(dir, 'tmp');
    await mkdir(tmpDir);
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const { host } = registry;
    const fine = await written(dir, 'fine.tar', tarOf(k3sMembers('podman', 'linux/amd64')));
    const members = k3sMembers('podman', 'linux/arm64');
    const isLayer = ({ name, content }: TarMember): boolean =>
      content !== undefined && /^[0-9a-f]{64}\.tar$/.test(name);
    const spoiled = members.map((member) =>
      isLayer(member) ? { ...member, content: Buffer.alloc(1024, 'x') } : member,
    );
    const packed = gzipSync(tarOf(members));
    const broken: [name: string, bytes: Uint8Array, code: string][] = [
      ['layer.tar', tarOf(spoiled), 'digest-mismatch'],
      ['missing.tar', tarOf(members.filter((member) => !isLayer(member))), 'damaged'],
      ['cut.tar', tarOf(members).subarray(0, 20_000), 'damaged'],
      ['cut.tar.gz', packed.subarray(0, packed.length - 100), 'damaged'],
      ['evil.tar', tarOf([...members, { name: '../../evil', content: 'x' }]), 'damaged'],
      ['other.tar', tarOf(k3sMembers('docker-20', 'linux/amd64').map((member) => member)), 'none'],
    ];
    for (const [name, bytes, code] of broken) {
      const path = await written(dir, name, bytes);
      if (code === 'none') continue;
      await assert.rejects(imported(host, { inputs: [fine, path], archives: { tmpDir } }), (error) => {
        assert.ok(isAirliftError(error), String(error));
        assert.equal(error.code, code, error.message);
        assert.ok(error.message.includes(name), error.message);
        return true;
      });
      // Layers of images that were read before may be there.
      for (const image of k3sImages) {
        const [repository = ''] = image.split(':');
        const { status } = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/tags/list` });
        assert.equal(status, 404, `${name}: tags of ${repository}`);
      }
      assert.deepEqual(await manifestsStored(registry.dir), [], name);
    }
    assert.deepEqual(await readdir(tmpDir), []);
  });
});

suite('compression of layers', { timeout: 120_000 }, () => {
  const types = {
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
    none: 'application/vnd.oci.image.layer.v1.tar',
  };
  for (const [compression, mediaType] of Object.entries(types)) {
    test(
      `skopeo reads layers of --layer-compression ${compression}`,
      { skip: needs('skopeo', 'docker-registry') },
      async (t) => {
        const dir = temp(t);
        const host = await startRegistry(t);
        const image = k3sImage('rancher/pause:3.1', 'linux/amd64');
        const tar = tarOf(savedMembers('docker-20', [{ tags: ['rancher/pause:3.1'], image }]));
        const path = await written(dir, 'saved.tar', tar);
        await airlift(['import', path, '--to', host, '--layer-compression', compression]);
        const out = join(dir, 'out');
        await run('skopeo', [
          ...['--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false', '--dest-decompress'],
          ...[`docker://${host}/rancher/pause:3.1`, `dir:${out}`],
        ]);
        const at = '/v2/rancher/pause';
        const manifest = await json<{ config: DescriptorJson; layers: DescriptorJson[] }>(
          host,
          `${at}/manifests/3.1`,
        );
        assert.deepEqual(
          manifest.layers.map((entry) => entry.mediaType),
          [mediaType, mediaType],
        );
        const config = await json<{ rootfs: { diff_ids: string[] } }>(
          host,
          `${at}/blobs/${manifest.config.digest}`,
        );
        // skopeo names the decompressed layers by their digests, which are the diff_ids of the config.
        for (const diffId of config.rootfs.diff_ids) {
          const content = await readFile(join(out, diffId.slice('sha256:'.length)));
          assert.equal(testDigest(content), diffId);
        }
      },
    );
  }
});

suite('importing parts of one index', { timeout: 120_000 }, () => {
  const children = platforms.map((platform) =>
    imageOf({ platform, layers: [layer([{ name: 'bin/app', content: elfFile(platform), mode: 0o755 }])] }),
  );
  const index = indexOf({ children });
  const part = (which: readonly TestImage[]): Uint8Array => {
    const here = new Set<string>([index.root.digest]);
    for (const image of which)
      for (const digest of [...image.blobs.keys(), ...image.manifests.keys()]) here.add(digest);
    return tarOf(
      layoutMembers([{ name: 'docker.io/library/app:1', image: index }], (digest) => here.has(digest)),
    );
  };

  test('complete: the publisher’s digest', required, async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const inputs = [];
    for (const [at, child] of children.entries()) inputs.push(await written(dir, `${at}.tar`, part([child])));
    const { published } = await imported(host, { inputs });
    assert.equal(published[0]?.digest, index.root.digest);
    assert.equal((await walkRegistry(host, 'library/app', '1')).root.digest, index.root.digest);
  });

  test(
    'one missing: a filtered index, or the publisher’s index if the site accepts it',
    required,
    async (t) => {
      const dir = temp(t);
      const inputs = [await written(dir, 'part.tar', part(children.slice(1)))];
      const strict = await startRegistry(t);
      const { published, lostPins } = await imported(strict, { inputs });
      const { root, content } = await walkRegistry(strict, 'library/app', '1');
      assert.equal(root.digest, published[0]?.digest);
      assert.equal(content.has(children[0]?.root.digest ?? ''), false);
      assert.deepEqual(lostPins, [`${strict}/library/app@${index.root.digest}`]);
      await assert.rejects(imported(strict, { inputs, originalIndex: 'original' }), (error) => {
        assert.ok(isAirliftError(error, 'registry'));
        assert.match(error.message, /rejects indexes with missing platforms$/);
        return true;
      });

      const server = await serve({ store: join(dir, 'store') }, { port: 0, allowSparse: true });
      t.after(() => server.close());
      const host = `${server.host}:${server.port}`;
      const asIs = await imported(host, { inputs, originalIndex: 'original' });
      assert.equal(asIs.published[0]?.digest, index.root.digest);
      const { headers } = await askRegistry(host, { method: 'HEAD', path: '/v2/library/app/manifests/1' });
      assert.equal(headers['docker-content-digest'], index.root.digest);
    },
  );
});

/** Reads bundles with programs that know nothing of airlift. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Digest } from '../../src/oci/digest.js';
import { startContainerd } from '../support/containerd.js';
import { bytesOf, type Content } from '../support/content.js';
import { singlePlatform } from '../support/image-sets.js';
import { platformJson, type DescriptorJson, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkLayout } from '../support/walk.js';
import { contentsOf, everyKind, writeBundle, type Cargo } from './write-bundle.js';

const cargo = everyKind();
const named = cargo.filter((item): item is Cargo & { reference: string } => item.reference !== undefined);

function image(name: string): Cargo & { reference: string } {
  const found = named.find(({ reference }) => reference.includes(name));
  assert.ok(found !== undefined, name);
  return found;
}

function contentAt({ manifests }: TestImage, digest: Digest): Content {
  const content = manifests.get(digest);
  assert.ok(content !== undefined, digest);
  return content;
}

/** Images that skopeo 1.9 and podman 4.3 do not find in an OCI layout: entries of Docker's media types. */
function isDocker({ image: { root } }: Cargo): boolean {
  return root.mediaType.startsWith('application/vnd.docker.');
}

describe('a bundle', () => {
  const dir = temp({ after });
  const path = join(dir, 'site.tar');
  const unpacked = join(dir, 'unpacked');
  before(async () => {
    await writeBundle(path, cargo);
    mkdirSync(unpacked);
    if (needs('tar') === false) await run('tar', ['xf', path, '-C', unpacked]);
  });

  test('is listed and unpacked by GNU tar without warnings', { skip: needs('tar') }, async () => {
    const { stdout, stderr } = await run('tar', ['tf', path]);
    assert.equal(stderr, '');
    const listed = stdout.trimEnd().split('\n');
    assert.deepEqual(listed.slice(0, 5), [
      'oci-layout',
      'index.json',
      'airlift/catalog.db',
      'airlift/SHA512SUMS',
      'airlift/SHA256SUMS',
    ]);
    const blobs = [...contentsOf(cargo).keys()].map((digest) => `blobs/${digest.replace(':', '/')}`);
    assert.deepEqual(listed.slice(5).sort(), blobs.sort());
    assert.equal(statSync(join(unpacked, 'index.json')).mtime.toISOString(), '2024-05-06T07:08:09.000Z');
  });

  test('is verified by sha256sum and sha512sum', { skip: needs('tar', 'sha256sum') }, async () => {
    const { stdout } = await run('sha256sum', ['-c', '--strict', 'airlift/SHA256SUMS'], { cwd: unpacked });
    const by512 = await run('sha512sum', ['-c', '--strict', 'airlift/SHA512SUMS'], { cwd: unpacked });
    const entries = (await run('tar', ['tf', path])).stdout.trimEnd().split('\n');
    const checked = (stdout + by512.stdout).trimEnd().split('\n');
    assert.deepEqual(
      [...checked, 'airlift/SHA256SUMS: OK'].sort(),
      entries.map((name) => `${name}: OK`).sort(),
    );
  });

  test('has a catalog that sqlite3 can read', { skip: needs('tar', 'sqlite3') }, async () => {
    const catalog = join(unpacked, 'airlift/catalog.db');
    const sql = async (query: string): Promise<string[]> =>
      (await run('sqlite3', ['-readonly', catalog, query])).stdout.trimEnd().split('\n');
    assert.deepEqual(await sql('PRAGMA integrity_check'), ['ok']);
    assert.deepEqual(await sql('PRAGMA foreign_key_check'), ['']);
    assert.deepEqual(await sql('PRAGMA journal_mode'), ['delete']);
    assert.deepEqual(
      await sql('SELECT reference FROM images'),
      named.map(({ reference }) => reference).sort(),
    );
    const web = image('acme/web');
    assert.deepEqual(
      await sql(
        `SELECT platform FROM image_platforms WHERE reference = '${web.reference}' AND platform NOT LIKE 'unknown%'`,
      ),
      ['linux/amd64', 'linux/arm/v7', 'linux/arm64'],
    );
    const blobs = await sql(`SELECT digest FROM image_blobs WHERE reference = '${web.reference}'`);
    assert.deepEqual(blobs.sort(), [...web.image.manifests.keys(), ...web.image.blobs.keys()].sort());
    // The referrer is copied with its subject.
    const signed = await sql(
      `SELECT kind FROM image_blobs WHERE reference = '${image('acme/signed').reference}'`,
    );
    assert.equal(signed.filter((kind) => kind === 'manifest').length, 4);
    const paths = await sql('SELECT path, size FROM entries WHERE content_offset IS NOT NULL');
    for (const line of paths) {
      const [name = '', size] = line.split('|');
      assert.equal(statSync(join(unpacked, name)).size, Number(size), name);
    }
  });

  test('is an OCI layout of exactly these images', { skip: needs('tar') }, async () => {
    const { roots } = await walkLayout(unpacked);
    const entries = roots.map((root) => [
      root.annotations?.['org.opencontainers.image.ref.name'],
      root.digest,
    ]);
    const want = named.map(({ reference, image: { root } }) => [reference, root.digest]);
    assert.deepEqual(entries, want.sort());
    for (const { annotations } of roots)
      assert.equal(
        annotations?.['io.containerd.image.name'],
        annotations?.['org.opencontainers.image.ref.name'],
      );
    const single = roots.find(({ digest }) => digest === image('acme/single').image.root.digest);
    assert.deepEqual(single?.platform, { architecture: 'arm64', os: 'linux' });
    assert.equal(
      roots.find(({ digest }) => digest === image('acme/web').image.root.digest)?.platform,
      undefined,
    );
  });

  for (const name of [
    'acme/web',
    'acme/tools',
    'acme/single',
    'acme/chart',
    'acme/signed:1',
    'acme/pinned@',
  ]) {
    test(`is a source for skopeo copy --all: ${name}`, { skip: needs('skopeo') }, async (t) => {
      const { reference, image: want } = image(name);
      const raw = await run('skopeo', ['inspect', '--raw', `oci-archive:${path}:${reference}`]);
      assert.equal(`sha256:${createHash('sha256').update(raw.bytes).digest('hex')}`, want.root.digest);
      const to = join(temp(t), 'layout');
      await run('skopeo', ['copy', '--quiet', '--all', `oci-archive:${path}:${reference}`, `oci:${to}:copy`]);
      const { roots, content } = await walkLayout(to);
      assert.deepEqual(
        roots.map(({ digest }) => digest),
        [want.root.digest],
      );
      sameContent(content, await walkImage(want));
    });
  }

  test('is listed and unpacked by umoci', { skip: needs('tar', 'umoci') }, async (t) => {
    const { stdout } = await run('umoci', ['ls', '--layout', unpacked]);
    assert.deepEqual(stdout.trimEnd().split('\n').sort(), named.map(({ reference }) => reference).sort());
    const to = join(temp(t), 'image');
    // umoci reads single images only, not the images of an index.
    await run('umoci', [
      'unpack',
      '--rootless',
      '--image',
      `${unpacked}:${image('acme/single').reference}`,
      to,
    ]);
    assert.ok(readdirSync(join(to, 'rootfs')).includes('bin'));
    const digest = [...image('acme/single').image.manifests.keys()].at(-1) ?? '';
    assert.ok(readdirSync(to).includes(`${digest.replace(':', '_')}.mtree`));
  });

  test('is pulled by podman, each platform separately', { skip: needs('podman') }, async (t) => {
    const root = temp(t);
    const podman = ['--root', join(root, 'root'), '--runroot', join(root, 'run'), '--storage-driver', 'vfs'];
    const { reference, image: web } = image('acme/web');
    for (const platform of ['linux/arm64', 'linux/arm/v7']) {
      await run('podman', [
        ...podman,
        'pull',
        '--quiet',
        '--platform',
        platform,
        `oci-archive:${path}:${reference}`,
      ]);
      const format = '{{.Id}} {{.Architecture}}';
      const { stdout } = await run('podman', [...podman, 'image', 'inspect', '--format', format, reference]);
      const child = singlePlatform(platform, { name: 'web', roots: ['base', 'web'] });
      const { config } = JSON.parse(bytesOf(contentAt(web, child.root.digest)).toString()) as {
        config: DescriptorJson;
      };
      const { architecture } = platformJson(platform);
      assert.deepEqual(stdout.trim().split(' '), [config.digest.replace('sha256:', ''), architecture]);
    }
  });

  test(
    'is imported by containerd with all platforms, Docker media types too',
    { skip: needs('containerd') },
    async (t) => {
      const containerd = await startContainerd();
      t.after(() => containerd.stop());
      await containerd.ctr(['images', 'import', '--all-platforms', '--no-unpack', path]);
      const { stdout } = await containerd.ctr(['images', 'ls']);
      const listed = stdout
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => line.split(/\s+/).slice(0, 3));
      const want = named.map(({ reference, image: { root } }) => [reference, root.mediaType, root.digest]);
      assert.deepEqual(listed.sort(), want.sort());
      for (const item of named.filter(isDocker)) {
        const { bytes } = await containerd.ctr(['content', 'get', item.image.root.digest]);
        assert.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, item.image.root.digest);
      }
      const content = (await containerd.ctr(['content', 'ls', '-q'])).stdout.trimEnd().split('\n');
      const tools = image('acme/tools').image;
      for (const digest of [...tools.manifests.keys(), ...tools.blobs.keys()])
        assert.ok(content.includes(digest), digest);
    },
  );
});

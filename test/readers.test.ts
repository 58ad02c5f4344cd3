/** A bundle is read by tools that know nothing of airlift; docs/bundle-format.md says which of them takes which content. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from './support/airlift.js';
import { startContainerd } from './support/containerd.js';
import { startDockerRegistry, type DockerRegistry } from './support/docker-registry.js';
import { assortment } from './support/image-sets.js';
import { needs, run } from './support/peers.js';
import { podmanIn } from './support/podman.js';
import { pushImage } from './support/push-image.js';
import { temp } from './support/temp.js';
import { sameContent, walkImage, walkLayout } from './support/walk.js';

describe(
  'a bundle in the hands of other tools',
  { skip: needs('docker-registry', 'tar', 'sha256sum') },
  () => {
    let registry: DockerRegistry;
    let bundle = '';
    let unpacked = '';
    const ends: (() => unknown)[] = [];
    const { web, pause, nested, odd, artifact, single } = assortment();
    assert.ok(web && pause && nested && odd && artifact && single);
    const images = [web, pause, nested, odd, artifact, single];
    const nameOf = ({ repository, tag }: (typeof images)[number]): string =>
      `${registry.host}/${repository}:${tag}`;

    before(async () => {
      registry = await startDockerRegistry();
      for (const { repository, tag, image } of images) await pushImage(registry.host, repository, tag, image);
      const dir = temp({ after: (end) => void ends.push(end as () => unknown) });
      bundle = join(dir, 'site.tar');
      unpacked = join(dir, 'unpacked');
      await airlift(['export', ...images.map(nameOf), '-o', bundle]);
      mkdirSync(unpacked);
      await run('tar', ['xf', bundle, '-C', unpacked]);
    });
    after(async () => {
      await registry?.stop();
      for (const end of ends) await end();
    });

    test('GNU tar lists it, sha256sum and sha512sum find every entry right', async () => {
      const { stdout } = await run('tar', ['tf', bundle]);
      const entries = stdout.trim().split('\n');
      assert.deepEqual(entries.slice(0, 3), ['oci-layout', 'index.json', 'airlift/catalog.db']);
      const sums = readFileSync(join(unpacked, 'airlift/SHA256SUMS'), 'utf8').trim().split('\n');
      const sums512 = readFileSync(join(unpacked, 'airlift/SHA512SUMS'), 'utf8').trim().split('\n');
      assert.equal(sums.length + sums512.length, entries.length - 1, 'every entry but SHA256SUMS itself');
      await run('sha256sum', ['--check', '--strict', '--quiet', 'airlift/SHA256SUMS'], { cwd: unpacked });
      await run('sha512sum', ['--check', '--strict', '--quiet', 'airlift/SHA512SUMS'], { cwd: unpacked });
    });

    test('it is an OCI image layout that holds every digest', async () => {
      const { roots, content } = await walkLayout(unpacked);
      assert.deepEqual(
        roots.map(({ digest }) => digest).sort(),
        images.map(({ image }) => image.root.digest).sort(),
      );
      const want = new Map(
        (await Promise.all(images.map(({ image }) => walkImage(image)))).flatMap((walk) => [...walk]),
      );
      sameContent(content, want);
    });

    test('sqlite3 answers from the catalog', { skip: needs('sqlite3') }, async () => {
      const sql = async (query: string): Promise<string[]> =>
        (await run('sqlite3', [join(unpacked, 'airlift/catalog.db'), query])).stdout.trim().split('\n');
      assert.deepEqual(await sql('PRAGMA integrity_check'), ['ok']);
      assert.deepEqual(await sql('SELECT reference FROM images ORDER BY 1'), images.map(nameOf).sort());
      const platforms = await sql(`SELECT platform FROM image_platforms WHERE reference = '${nameOf(web)}'`);
      assert.deepEqual(platforms, ['linux/amd64', 'linux/arm/v7', 'linux/arm64']);
      const paths = await sql('SELECT path FROM entries');
      for (const path of paths) assert.ok(existsSync(join(unpacked, path)), path);
    });

    test(
      'skopeo inspects and copies OCI images whole, indexes byte for byte',
      { skip: needs('skopeo') },
      async (t) => {
        const dir = temp(t);
        // skopeo 1.9 sees only OCI descriptors in an index.json: Docker's are read by podman and containerd below.
        for (const named of [web, nested]) {
          const source = `oci-archive:${bundle}:${nameOf(named)}`;
          const { bytes } = await run('skopeo', ['inspect', '--raw', source]);
          const { stdout } = await run('sha256sum', [], { input: bytes });
          assert.equal(`sha256:${stdout.slice(0, 64)}`, named.image.root.digest);
        }
        await run('skopeo', [
          'copy',
          '--all',
          '--quiet',
          `oci-archive:${bundle}:${nameOf(web)}`,
          `oci:${dir}/copy:web`,
        ]);
        sameContent((await walkLayout(join(dir, 'copy'))).content, await walkImage(web.image));
      },
    );

    test('umoci lists all and unpacks a single image', { skip: needs('umoci') }, async (t) => {
      const { stdout } = await run('umoci', ['list', '--layout', unpacked]);
      assert.deepEqual(stdout.trim().split('\n').sort(), images.map(nameOf).sort());
      const root = join(temp(t), 'root');
      await run('umoci', ['raw', 'unpack', '--rootless', '--image', `${unpacked}:${nameOf(single)}`, root]);
      assert.match(readFileSync(join(root, 'bin/app'), 'latin1'), /single for linux\/arm64/);
    });

    test('podman pulls the platform it is asked for', { skip: needs('podman') }, async (t) => {
      const podman = podmanIn(temp(t));
      for (const architecture of ['amd64', 'arm64']) {
        const source = `oci-archive:${bundle}:${nameOf(web)}`;
        const { stdout } = await podman(['pull', '--quiet', '--arch', architecture, source]);
        const id = stdout.trim().split('\n').at(-1) ?? '';
        const inspected = await podman(['image', 'inspect', '--format', '{{.Architecture}}', id]);
        assert.equal(inspected.stdout.trim(), architecture);
      }
    });

    test(
      'containerd imports every image with all its platforms',
      { skip: needs('containerd') },
      async (t) => {
        const containerd = await startContainerd();
        t.after(() => containerd.stop());
        await containerd.ctr(['images', 'import', '--all-platforms', '--no-unpack', bundle]);
        const { stdout } = await containerd.ctr(['images', 'ls']);
        for (const named of [web, pause, nested]) {
          const line = stdout.split('\n').find((text) => text.startsWith(`${nameOf(named)} `)) ?? '';
          assert.ok(line.includes(named.image.root.digest), nameOf(named));
          assert.match(line, /linux\/amd64,.*linux\/arm64/);
        }
      },
    );
  },
);

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openArchive } from '../../src/archive/read/open.js';
import { openInputs } from '../../src/merge/open-inputs.js';
import { formatReference, parseReference } from '../../src/oci/reference.js';
import { saveImages } from '../../src/save/save.js';
import { startContainerd } from '../support/containerd.js';
import { importedCriImage } from '../support/cri.js';
import { singlePlatform } from '../support/image-sets.js';
import { imageOf, layer } from '../support/images.js';
import { writeOciLayout } from '../support/oci-layout.js';
import { needs, run } from '../support/peers.js';
import { configOf, manifestOf, type SavingSite, startSavingSite } from '../support/saving.js';
import { layoutMembers } from '../support/saved.js';
import { tarOf } from '../support/tar.js';
import { temp } from '../support/temp.js';
describe('saving for nodes', { skip: needs('docker-registry', 'tar') }, () => {
  let site: SavingSite;
  before(async () => (site = await startSavingSite()));
  after(() => site?.stop());

  for (const [compression, extension] of [
    ['zstd', '.tar.zst'],
    ['gzip', '.tar.gz'],
    ['none', '.tar'],
  ] as const) {
    test(
      `containerd imports the files for nodes, compressed with ${compression}`,
      { skip: needs('containerd', 'zstd', 'gzip') },
      async (t) => {
        const { dir, path, files, events } = await site.save(t, { format: 'k3s', compression });
        assert.deepEqual(
          files,
          ['amd64', 'arm', 'arm64'].map((name) => `${path}-images-${name}${extension}`),
        );
        const containerd = await startContainerd();
        t.after(() => containerd.stop());
        for (const [architecture, platform] of [
          ['amd64', 'linux/amd64'],
          ['arm64', 'linux/arm64'],
          ['arm', 'linux/arm/v7'],
        ] as const) {
          const file = join(dir, `out-images-${architecture}${extension}`);
          const plain = join(dir, `${architecture}.tar`);
          const tool = { zstd: ['zstd', '-dc'], gzip: ['gzip', '-dc'], none: ['cat'] }[compression];
          const [command = '', ...flags] = tool;
          await run('sh', ['-c', `${command} ${flags.join(' ')} ${file} > ${plain}`]);
          const ctr = (...args: string[]): ReturnType<typeof run> =>
            containerd.ctr(['--namespace', architecture, ...args]);
          // Import all platforms of the file, as k3s does on every node.
          await ctr('images', 'import', '--all-platforms', '--no-unpack', plain);
          const { stdout } = await ctr('images', 'ls');
          for (const image of ['web', 'pause', 'tools'].map((name) => site.named(name))) {
            const line =
              stdout.split('\n').find((text) => text.startsWith(`${site.referenceOf(image)} `)) ?? '';
            assert.ok(line.includes(manifestOf(image.image, architecture)), line);
            assert.ok(line.includes(` ${platform} `), line);
            // A pod may pin the digest of the index: its name leads to the manifest for the node.
            const pin = `${site.host}/${image.repository}@${image.image.root.digest}`;
            const pinned = stdout.split('\n').find((text) => text.startsWith(`${pin} `)) ?? '';
            assert.ok(pinned.includes(` ${manifestOf(image.image, architecture)} `), pin);
          }
          assert.equal(
            stdout.includes(site.referenceOf(site.named('docker-single'))),
            architecture === 'amd64',
          );
        }
        assert.ok(
          events.some(
            (event) =>
              event.event === 'warning' && /library\/single:latest left out.*arm64/.test(event.message),
          ),
        );
      },
    );
  }

  test(
    'readers of manifest.json alone, such as RKE2’s, find each image by its tag, with the config and layers that it has',
    { skip: needs('skopeo') },
    async (t) => {
      const { path } = await site.save(t, { format: 'k3s', compression: 'none' });
      const file = `${path}-images-arm64.tar`;
      const { stdout: json } = await run('tar', ['-xOf', file, 'manifest.json']);
      const saved = JSON.parse(json) as { Config: string; RepoTags: string[]; Layers: string[] }[];
      for (const image of ['web', 'pause', 'tools'].map((name) => site.named(name))) {
        const name = site.referenceOf(image);
        const item = saved.find(({ RepoTags }) => RepoTags.includes(name));
        assert.equal(item?.Config, configOf(image.image, 'arm64').id.replace('sha256:', 'blobs/sha256/'));
        const out = `dir:${join(temp(t), 'out')}`;
        await run('skopeo', [
          ...['--insecure-policy', '--override-arch', 'arm64', 'copy', '--quiet'],
          ...[`docker-archive:${file}:${name}`, out],
        ]);
        const { stdout: raw } = await run('skopeo', ['inspect', '--raw', out]);
        const copied = JSON.parse(raw) as { config: { digest: string } };
        assert.equal(copied.config.digest, configOf(image.image, 'arm64').id);
      }
    },
  );

  test('airlift reads its own files for nodes by index.json, layers without compression too', async (t) => {
    const plain = imageOf({
      platform: 'linux/arm64',
      layers: [layer([{ name: 'about', content: 'x' }], { compression: 'none' })],
    });
    const source = join(temp(t), 'plain.tar');
    writeFileSync(source, tarOf(layoutMembers([{ name: 'acme.test/plain:1', image: plain }])));
    const { path } = await site.save(t, { format: 'k3s', compression: 'none', from: { files: [source] } });
    const archive = await openArchive(`${path}-images-arm64.tar`);
    t.after(() => archive.close());
    for await (const { names, root } of archive.images()) {
      assert.deepEqual(names, ['acme.test/plain:1']);
      assert.equal(root.digest, plain.root.digest);
    }
    assert.equal(archive.shape, 'oci-layout');
  });

  test('files for nodes of several platforms are read as the images they were saved from', async (t) => {
    const { path } = await site.save(t, { format: 'k3s', images: site.refs('web', 'tools') });
    const inputs = ['amd64', 'arm64', 'arm'].map((name) => `${path}-images-${name}.tar.zst`);
    const merged = await openInputs({ inputs });
    t.after(() => merged.close());
    const found = [...merged.images].map(({ reference }) => formatReference(reference));
    assert.deepEqual(found.sort(), ['web', 'tools'].map((name) => site.referenceOf(site.named(name))).sort());
  });

  test(
    'an image that is named by its digest only is found by it on nodes',
    { skip: needs('containerd') },
    async (t) => {
      const dir = temp(t);
      const image = singlePlatform('linux/amd64', { name: 'pinned' });
      await site.push('acme/pinned', 'x', image);
      const name = `${site.host}/acme/pinned@${image.root.digest}`;
      await saveImages({
        from: { references: [parseReference(name)], registry: {} },
        format: 'k3s',
        compression: 'none',
        output: `${dir}/pinned`,
      });
      const containerd = await startContainerd();
      t.after(() => containerd.stop());
      const file = join(dir, 'pinned-images-amd64.tar');
      await containerd.ctr(['-n', 'k8s.io', 'images', 'import', '--all-platforms', '--no-unpack', file]);
      const found = await importedCriImage(containerd.address, name);
      assert.deepEqual(found.digests, [name]);
    },
  );

  test(
    'an image whose config lies goes to the nodes that can run it',
    { skip: needs('containerd') },
    async (t) => {
      const dir = temp(t);
      const liar = singlePlatform('linux/arm/v7', {
        name: 'liar',
        image: () => ({ config: { architecture: 'amd64', variant: undefined } }),
      });
      await writeOciLayout(join(dir, 'layout'), [{ name: 'acme.test/liar:1', image: liar }]);
      await run('tar', ['-cf', join(dir, 'k3s-arm.tar'), '-C', join(dir, 'layout'), '.']);
      const { path, files } = await site.save(t, {
        from: { files: [join(dir, 'k3s-arm.tar')] },
        format: 'k3s',
        compression: 'none',
      });
      assert.deepEqual(files, [`${path}-images-arm.tar`]);
      const containerd = await startContainerd();
      t.after(() => containerd.stop());
      await containerd.ctr(['images', 'import', '--all-platforms', '--no-unpack', `${path}-images-arm.tar`]);
      const { stdout } = await containerd.ctr(['images', 'ls']);
      assert.match(stdout, new RegExp(`acme\\.test/liar:1 .*${liar.root.digest}`));
    },
  );
});

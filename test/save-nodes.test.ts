import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startContainerd } from './support/containerd.js';
import { singlePlatform } from './support/image-sets.js';
import { writeOciLayout } from './support/oci-layout.js';
import { needs, run } from './support/peers.js';
import { manifestOf, type SavingSite, startSavingSite } from './support/saving.js';
import { temp } from './support/temp.js';
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
          // As k3s does it: whatever the node is, all platforms of the file.
          await ctr('images', 'import', '--all-platforms', '--no-unpack', plain);
          const { stdout } = await ctr('images', 'ls');
          for (const image of ['web', 'pause', 'tools'].map((name) => site.named(name))) {
            const line =
              stdout.split('\n').find((text) => text.startsWith(`${site.referenceOf(image)} `)) ?? '';
            assert.ok(line.includes(manifestOf(image.image, architecture)), line);
            assert.ok(line.includes(` ${platform} `), line);
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

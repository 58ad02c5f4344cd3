import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import { saveImages } from '../../src/save/save.js';
import { testDigest } from '../support/content.js';
import { startDockerd } from '../support/docker.js';
import { failsWith } from '../support/errors.js';
import { imageOf, layer } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { podmanIn } from '../support/podman.js';
import { configOf, digestOfFile, type SavingSite, startSavingSite } from '../support/saving.js';
import { temp } from '../support/temp.js';
describe('saving for docker', { skip: needs('docker-registry', 'tar') }, () => {
  let site: SavingSite;
  before(async () => (site = await startSavingSite()));
  after(() => site?.stop());

  test(
    'docker loads a docker-archive, its image IDs and layers as they were published',
    { skip: needs('dockerd') },
    async (t) => {
      const dockerd = await startDockerd();
      t.after(() => dockerd.stop());
      const { path, events } = await site.save(t, {
        format: 'docker-archive',
        platforms: [parsePlatform('linux/arm64')],
        images: site.refs('web', 'pause', 'tools', 'artifact'),
        tags: [`${site.referenceOf(site.named('web'))}=web:newest`],
      });
      await dockerd.docker(['load', '--input', path]);
      for (const [name, image] of [
        ['web:newest', site.named('web')],
        [site.referenceOf(site.named('pause')), site.named('pause')],
        [site.referenceOf(site.named('tools')), site.named('tools')],
      ] as const) {
        const { stdout } = await dockerd.docker(['image', 'inspect', name]);
        const [inspected] = JSON.parse(stdout) as [
          { Id: string; Architecture: string; RootFS: { Layers: string[] } },
        ];
        const { id, diffIds } = configOf(image.image, 'arm64');
        assert.equal(inspected.Id, id);
        assert.equal(inspected.Architecture, 'arm64');
        assert.deepEqual(inspected.RootFS.Layers, diffIds);
      }
      const { stdout } = await dockerd.docker([
        'image',
        'ls',
        '--quiet',
        site.referenceOf(site.named('web')),
      ]);
      assert.equal(stdout, '');
      assert.ok(
        events.some(
          (event) => event.event === 'warning' && /acme\/chart.*not a runnable image/.test(event.message),
        ),
      );
    },
  );

  test(
    'podman and skopeo load a docker-archive with layers of every kind',
    { skip: needs('podman', 'skopeo') },
    async (t) => {
      const { path, dir } = await site.save(t, {
        from: { references: site.refs('odd'), registry: {} },
        format: 'docker-archive',
        tags: ['team/odd:1'],
      });
      const podman = podmanIn(dir);
      await podman(['load', '--quiet', '--input', path]);
      const { stdout } = await podman([
        ...['image', 'inspect', '--format', '{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}'],
        'docker.io/team/odd:1',
      ]);
      const { id, diffIds } = configOf(site.named('odd').image, 'amd64');
      assert.equal(stdout.trim(), [id.replace('sha256:', ''), ...diffIds].join(' '));
      const { stdout: seen } = await run('skopeo', [
        'inspect',
        '--config',
        '--raw',
        `docker-archive:${path}`,
      ]);
      assert.equal(testDigest(seen), id);
    },
  );

  test('a layer that is not what the config names stops a docker-archive', async (t) => {
    const { descriptor, content } = layer([{ name: 'about', content: 'not what the config names' }]);
    const diffId = `sha256:${'0'.repeat(64)}` as Digest;
    const liar = imageOf({ layers: [{ descriptor, content, diffId }] });
    await site.push('acme/liar', '1', liar);
    const dir = temp(t);
    await failsWith(
      saveImages({
        from: { references: [parseReference(`${site.host}/acme/liar:1`)], registry: {} },
        format: 'docker-archive',
        output: join(dir, 'x.tar'),
      }),
      'digest-mismatch',
      /digest mismatch against rootfs\.diff_ids; got sha256:[^0].*, want sha256:0000/,
    );
    assert.deepEqual(readdirSync(dir), []);
  });

  test(
    'an archive of docker save is saved again without compression in between',
    { skip: needs('skopeo') },
    async (t) => {
      const first = await site.save(t, {
        format: 'docker-archive',
        images: site.refs('web'),
        platforms: [parsePlatform('linux/amd64')],
      });
      const again = await site.save(t, { from: { files: [first.path] }, format: 'docker-archive' });
      assert.equal(digestOfFile(again.path), digestOfFile(first.path));
      const oci = await site.save(t, { from: { files: [first.path] }, format: 'oci-archive' });
      const { stdout } = await run('skopeo', ['inspect', '--config', '--raw', `oci-archive:${oci.path}`]);
      assert.equal(testDigest(stdout), configOf(site.named('web').image, 'amd64').id);
    },
  );
});

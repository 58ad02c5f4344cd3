import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { testDigest } from '../support/content.js';
import { needs, run } from '../support/peers.js';
import { podmanIn } from '../support/podman.js';
import { configOf, type SavingSite, startSavingSite } from '../support/saving.js';
describe('saving OCI archives and layouts', { skip: needs('docker-registry', 'tar') }, () => {
  let site: SavingSite;
  before(async () => (site = await startSavingSite()));
  after(() => site?.stop());

  test('an OCI archive holds each index to the byte', { skip: needs('skopeo') }, async (t) => {
    const { path, dir } = await site.save(t, { format: 'oci-archive' });
    const { stdout } = await run('tar', ['-xOf', path, 'index.json']);
    const { manifests } = JSON.parse(stdout) as {
      manifests: { digest: Digest; annotations: Record<string, string> }[];
    };
    for (const image of site.images) {
      const entry = manifests.find(
        ({ annotations }) => annotations['org.opencontainers.image.ref.name'] === site.referenceOf(image),
      );
      assert.equal(entry?.digest, image.image.root.digest);
      assert.equal(entry.annotations['io.containerd.image.name'], site.referenceOf(image));
    }
    for (const image of ['web', 'tools', 'odd'].map((name) => site.named(name))) {
      const source = `oci-archive:${path}:${site.referenceOf(image)}`;
      const { stdout: raw } = await run('skopeo', ['inspect', '--raw', source]);
      assert.equal(testDigest(raw), image.image.root.digest);
      // skopeo does not copy blobs named by sha512.
      if (image === site.named('odd')) continue;
      const out = `dir:${join(dir, image.repository.replace('/', '-'))}`;
      await run('skopeo', ['--insecure-policy', '--override-arch', 'amd64', 'copy', '--quiet', source, out]);
    }
  });

  test('a warning names images of Docker’s media types, which older readers do not find by name', async (t) => {
    const dockers = site.images.filter(({ image }) => image.root.mediaType.includes('docker'));
    assert.notEqual(dockers.length, 0);
    for (const format of ['oci-archive', 'oci-layout'] as const) {
      const { events } = await site.save(t, { format });
      const warnings = events.flatMap((event) => (event.event === 'warning' ? [event.message] : []));
      const warning = warnings.find((message) => message.includes('older skopeo and podman'));
      assert.match(warning ?? '', /save each alone with `images`, or with `format: 'docker-archive'`/);
      for (const image of site.images)
        assert.equal(warning?.includes(site.referenceOf(image)), dockers.includes(image), image.repository);
    }
    const alone = await site.save(t, { format: 'oci-archive', images: site.refs('docker-single') });
    assert.match(JSON.stringify(alone.events), /leave the name out: oci-archive:FILE/);
    const node = await site.save(t, { format: 'k3s' });
    assert.doesNotMatch(JSON.stringify(node.events), /older skopeo/);
  });

  test('podman loads an OCI archive of one image', { skip: needs('podman', 'gzip') }, async (t) => {
    const { path, dir } = await site.save(t, {
      format: 'oci-archive',
      images: site.refs('tools'),
      platforms: [parsePlatform('linux/amd64')],
      compression: 'gzip',
    });
    await run('gzip', ['-t'], { input: readFileSync(path) });
    const podman = podmanIn(dir);
    await podman(['load', '--quiet', '--input', path]);
    const { stdout } = await podman(['images', '--all', '--quiet', '--no-trunc']);
    assert.equal(stdout.trim(), configOf(site.named('tools').image, 'amd64').id);
  });

  test(
    'an OCI layout is a directory that umoci and skopeo read',
    { skip: needs('skopeo', 'umoci') },
    async (t) => {
      const { path } = await site.save(t, {
        format: 'oci-layout',
        images: site.refs('web'),
        tags: ['team/web:2'],
      });
      const { stdout } = await run('skopeo', ['inspect', '--raw', `oci:${path}:docker.io/team/web:2`]);
      assert.equal(testDigest(stdout), site.named('web').image.root.digest);
      const { stdout: list } = await run('umoci', ['ls', '--layout', path]);
      assert.equal(list.trim(), 'docker.io/team/web:2');
    },
  );
});

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Digest } from '../src/oci/digest.js';
import { airlift } from './support/airlift.js';
import { referrersTagOf } from './support/artifacts.js';
import { startDockerRegistry, type DockerRegistry } from './support/docker-registry.js';
import { assortment, companionsOf, multiPlatform, type NamedImage } from './support/image-sets.js';
import { needs, run } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { temp } from './support/temp.js';
import { sameContent, walkImage, walkRegistry } from './support/walk.js';

/** Returns the log lines of all PUT, POST and PATCH requests. */
function writes(registry: DockerRegistry): string[] {
  return registry
    .log()
    .split('\n')
    .filter(
      (line) =>
        /"http\.request\.method":"(?:PUT|POST|PATCH)"/.test(line) && line.includes('response completed'),
    );
}

async function sha256(path: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path)) digest.update(chunk as Buffer);
  return digest.digest('hex');
}

describe('registry to bundle to registry', { skip: needs('docker-registry', 'tar') }, () => {
  let source: DockerRegistry;
  const images = Object.values(assortment());
  const signed = assortment()['signed'] ?? assert.fail();
  const companions = companionsOf(signed);
  const referenceOf = ({ repository, tag }: NamedImage): string => `${source.host}/${repository}:${tag}`;

  before(async () => {
    source = await startDockerRegistry();
    for (const { repository, tag, image } of [...images, ...companions])
      await pushImage(source.host, repository, tag, image);
    // docker-registry has no referrers API: the SBOM is listed under the fallback tag, as clients do.
    const referrers = companions
      .filter(({ tag }) => tag === undefined)
      .map(({ image }) => ({ image, artifactType: 'application/spdx+json' }));
    const list = referrersTagOf(signed.image, referrers);
    await pushImage(source.host, signed.repository, list.tag, list.image);
  });
  after(() => source?.stop());

  test('every index, manifest, config and layer arrives byte-identical; a second import sends nothing', async (t) => {
    const dir = temp(t);
    const target = await startDockerRegistry();
    t.after(() => target.stop());
    const bundle = join(dir, 'site.tar');
    const flags = ['--foreign-layers', 'keep', '-o', bundle];
    await airlift(['export', ...images.map(referenceOf), ...flags]);
    assert.deepEqual(readdirSync(dir), ['site.tar'], 'no partial file, no journal');
    await airlift(['verify', bundle]);
    await airlift(['import', bundle, '--to', target.host]);
    for (const { repository, tag, image } of [...images, ...companions]) {
      const { root, content } = await walkRegistry(target.host, repository, tag ?? image.root.digest);
      assert.equal(root.digest, image.root.digest, `${repository}:${tag}`);
      const want = await walkImage(image);
      // A foreign layer may be present if another image has it as a normal layer.
      for (const [digest, found] of want)
        if (found === 'absent' && content.has(digest)) content.set(digest, 'absent');
      sameContent(content, want);
    }
    const before = writes(target).length;
    assert.ok(before > 0);
    const again = await airlift(['import', bundle, '--to', target.host, '--json']);
    assert.equal(writes(target).length, before, 'a second import writes nothing');
    const summary = JSON.parse(again.stdout.trim().split('\n').at(-1) ?? '') as {
      uploadedBlobs: number;
      images: number;
    };
    assert.equal(summary.uploadedBlobs, 0);
  });

  test(
    'skopeo sees the same raw manifests at both ends, also below a prefix',
    { skip: needs('skopeo') },
    async (t) => {
      const target = await startDockerRegistry();
      t.after(() => target.stop());
      const bundle = join(temp(t), 'site.tar');
      const chosen = images.filter(({ repository }) =>
        ['acme/web', 'rancher/pause', 'acme/nested', 'library/single'].includes(repository),
      );
      await airlift(['export', ...chosen.map(referenceOf), '-o', bundle]);
      await airlift(['import', bundle, '--to', `${target.host}/mirror/team`]);
      for (const { repository, tag } of chosen) {
        const raw = async (name: string): Promise<Buffer> =>
          (await run('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${name}:${tag}`])).bytes;
        assert.deepEqual(
          await raw(`${target.host}/mirror/team/${repository}`),
          await raw(`${source.host}/${repository}`),
        );
      }
    },
  );

  test('two of three platforms: a filtered index there, the original carried, its lost pin named', async (t) => {
    const target = await startDockerRegistry();
    t.after(() => target.stop());
    const bundle = join(temp(t), 'site.tar');
    const web = images.find(({ repository }) => repository === 'acme/web') ?? assert.fail();
    await airlift(['export', referenceOf(web), '--platform', 'linux/amd64,linux/arm/v7', '-o', bundle]);
    await airlift(['verify', bundle]);
    const list = (await run('tar', ['tf', bundle])).stdout.split('\n');
    assert.ok(
      list.includes(`blobs/${web.image.root.digest.replace(':', '/')}`),
      'the original index travels',
    );
    const imported = await airlift(['import', bundle, '--to', target.host]);
    assert.match(
      imported.stdout,
      new RegExp(`not kept: [^]*\n  ${target.host}/acme/web@${web.image.root.digest}`),
    );
    const { root } = await walkRegistry(target.host, 'acme/web', '1.0');
    const index = await askRegistry(target.host, {
      method: 'GET',
      path: `/v2/acme/web/manifests/${root.digest}`,
      headers: { accept: root.mediaType },
    });
    const children = (
      JSON.parse(index.body.toString()) as { manifests: { platform: { architecture: string } }[] }
    ).manifests;
    assert.deepEqual(
      children.map(({ platform }) => platform.architecture),
      ['amd64', 'arm', 'unknown', 'unknown'],
    );
  });

  test('same images, options and SOURCE_DATE_EPOCH: the same bytes, whatever the order', async (t) => {
    const dir = temp(t);
    const references = images.filter(({ repository }) => repository !== 'acme/windows').map(referenceOf);
    const env = { SOURCE_DATE_EPOCH: '1700000000' };
    await airlift(['export', ...references, '-o', join(dir, 'a.tar'), '-j', '8'], { env });
    await airlift(['export', ...references.toReversed(), '-o', join(dir, 'b.tar'), '-j', '1'], { env });
    assert.equal(await sha256(join(dir, 'a.tar')), await sha256(join(dir, 'b.tar')));
  });

  test('blobs shared by images of several repositories are uploaded once and mounted', async (t) => {
    const target = await startDockerRegistry();
    t.after(() => target.stop());
    const bundle = join(temp(t), 'site.tar');
    const image = multiPlatform({ name: 'shared', bigBytes: 200_000 });
    const names = ['one', 'two', 'three'].map((name) => `team/${name}`);
    for (const name of names) await pushImage(source.host, name, '1', image);
    await airlift(['export', ...names.map((name) => `${source.host}/${name}:1`), '-o', bundle]);
    const { stdout } = await airlift(['import', bundle, '--to', target.host, '--json']);
    const summary = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
      uploadedBlobs: number;
      mountedBlobs: number;
    };
    assert.equal(summary.uploadedBlobs, image.blobs.size);
    assert.equal(summary.mountedBlobs, 2 * image.blobs.size);
    for (const name of names)
      sameContent((await walkRegistry(target.host, name, '1')).content, await walkImage(image));
  });

  test('digest references are carried and found by their digest', async (t) => {
    const target = await startDockerRegistry();
    t.after(() => target.stop());
    const bundle = join(temp(t), 'site.tar');
    const web = images.find(({ repository }) => repository === 'acme/web') ?? assert.fail();
    const digest: Digest = web.image.root.digest;
    await airlift(['export', `${source.host}/acme/web@${digest}`, '-o', bundle]);
    await airlift(['import', bundle, '--to', target.host]);
    sameContent((await walkRegistry(target.host, 'acme/web', digest)).content, await walkImage(web.image));
  });

  test('--on-existing-tag: overwrite, skip and error', async (t) => {
    const target = await startDockerRegistry();
    t.after(() => target.stop());
    const bundle = join(temp(t), 'site.tar');
    const old = multiPlatform({ name: 'old' });
    await pushImage(target.host, 'acme/web', '1.0', old);
    const rootAt = async (): Promise<string> =>
      (await walkRegistry(target.host, 'acme/web', '1.0')).root.digest;
    const web = images.find(({ repository }) => repository === 'acme/web') ?? assert.fail();
    await airlift(['export', referenceOf(web), '-o', bundle]);
    const failed = await airlift(['import', bundle, '--to', target.host, '--on-existing-tag', 'error'], {
      codes: [1],
    });
    assert.match(failed.stderr, /tag is taken; got sha256:.*want sha256:/);
    await airlift(['import', bundle, '--to', target.host, '--on-existing-tag', 'skip']);
    assert.equal(await rootAt(), old.root.digest);
    await airlift(['import', bundle, '--to', target.host]);
    assert.equal(await rootAt(), web.image.root.digest);
  });

  test('an existing bundle is replaced only with --force', async (t) => {
    const bundle = join(temp(t), 'site.tar');
    const one = referenceOf(images[0] ?? assert.fail());
    await airlift(['export', one, '-o', bundle]);
    const before = await sha256(bundle);
    const refused = await airlift(['export', one, '-o', bundle], { codes: [1] });
    assert.match(refused.stderr, /exists|already there/);
    assert.equal(await sha256(bundle), before);
    await airlift(['export', one, '-o', bundle, '--force']);
    assert.ok(existsSync(bundle));
  });
});

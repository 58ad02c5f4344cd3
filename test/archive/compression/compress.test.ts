import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encoderOf } from '../../../src/archive/compression/compress.js';
import type { Compression } from '../../../src/archive/compression/decompress.js';
import { isAirliftError } from '../../../src/errors.js';
import { compressed } from '../../support/compressed.js';
import { startContainerd } from '../../support/containerd.js';
import { inMemory, noise, testDigest } from '../../support/content.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { startDockerd } from '../../support/docker.js';
import { imageOf, types, type TestImage } from '../../support/images.js';
import { writeOciLayout } from '../../support/oci-layout.js';
import { needs, run, type RunResult } from '../../support/peers.js';
import { pushImage } from '../../support/push-image.js';
import { tarOf } from '../../support/tar.js';
import { temp } from '../../support/temp.js';

/** Content of a layer that becomes several gzip members or zstd frames: half noise, half text. */
const data = Buffer.concat([
  ...noise(3_000_000, 'layer'),
  Buffer.from('all work and no play '.repeat(150_000)),
]);
const tar = tarOf([
  { name: 'data/', type: 'directory' },
  { name: 'data/file', content: data },
]);

async function image(compression: Compression): Promise<TestImage> {
  const { layer, written } = await compressed([tar], compression);
  const content = inMemory(written);
  assert.deepEqual(layer, { digest: content.digest, size: content.size, diffId: testDigest(tar) });
  const descriptor = { mediaType: types.oci[compression], digest: content.digest, size: content.size };
  return imageOf({ layers: [{ descriptor, content, diffId: layer.diffId }] });
}

test('a layer that is not compressed is its own diff_id', async () => {
  const { layer, written } = await compressed([tar], 'none');
  assert.equal(layer.digest, layer.diffId);
  assert.equal(layer.size, tar.length);
  assert.equal(testDigest(written), layer.digest);
});

test('levels outside 1 to 9 are refused', async () => {
  for (const level of [0, 10, 2.5, Number.NaN])
    assert.throws(
      () => encoderOf('zstd', { level }),
      (error) => isAirliftError(error, 'usage'),
    );
  await assert.rejects(
    compressed([tar], 'gzip', { level: 11 }),
    (error) => isAirliftError(error, 'usage') && /got 11, want 1 to 9/.test(error.message),
  );
});

test(
  'containerd unpacks layers of several gzip members or zstd frames',
  { skip: needs('containerd', 'tar') },
  async (t) => {
    const dir = temp(t);
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const layout = join(dir, compression);
      await writeOciLayout(layout, [{ name: compression, image: await image(compression) }]);
      await run('tar', ['-cf', `${layout}.tar`, '-C', layout, '.']);
      // A separate namespace, so that containerd does not reuse an unpacked layer.
      const ctr = (...args: string[]): Promise<RunResult> => containerd.ctr(['-n', compression, ...args]);
      await ctr('images', 'import', '--snapshotter', 'native', '--base-name', 'x.test/y', `${layout}.tar`);
      const { stdout } = await ctr('snapshots', '--snapshotter', 'native', 'ls');
      // The name of the unpacked snapshot contains the diff_id that containerd computed.
      assert.match(stdout, new RegExp(`${testDigest(tar)}.*Committed`));
    }
  },
);

test(
  'dockerd pulls a layer of several gzip members',
  { skip: needs('dockerd', 'docker-registry') },
  async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    await pushImage(registry.host, 'x', '1', await image('gzip'));
    const dockerd = await startDockerd();
    t.after(() => dockerd.stop());
    await dockerd.docker(['pull', '--quiet', `${registry.host}/x:1`]);
    const { stdout } = await dockerd.docker([
      ...['image', 'inspect', '--format', '{{index .RootFS.Layers 0}}'],
      `${registry.host}/x:1`,
    ]);
    assert.equal(stdout.trim(), testDigest(tar));
  },
);

test('skopeo decompresses and checks each kind of layer', { skip: needs('skopeo') }, async (t) => {
  const dir = temp(t);
  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    const layout = join(dir, compression);
    await writeOciLayout(layout, [{ name: '1', image: await image(compression) }]);
    const out = join(dir, `${compression}.out`);
    await run('skopeo', [
      ...['--insecure-policy', 'copy', '--quiet', '--dest-decompress'],
      ...[`oci:${layout}:1`, `dir:${out}`],
    ]);
    const [, hex = ''] = testDigest(tar).split(':');
    assert.equal(testDigest(readFileSync(join(out, hex))), testDigest(tar));
  }
});

test('umoci unpacks a layer of several gzip members', { skip: needs('umoci') }, async (t) => {
  const dir = temp(t);
  const layout = join(dir, 'layout');
  await writeOciLayout(layout, [{ name: '1', image: await image('gzip') }]);
  await run('umoci', ['raw', 'unpack', '--rootless', '--image', `${layout}:1`, join(dir, 'root')]);
  assert.equal(testDigest(readFileSync(join(dir, 'root/data/file'))), testDigest(data));
});

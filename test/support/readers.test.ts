/** Checks that the programs which read bundles in other tests can read the images that test/support builds. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { assortment, multiPlatform } from './image-sets.js';
import { writeOciLayout } from './oci-layout.js';
import { needs, run } from './peers.js';
import { podmanIn } from './podman.js';
import { temp } from './temp.js';

test('podman loads an image and names its platform', { skip: needs('podman', 'tar') }, async (t) => {
  const dir = temp(t);
  const image = multiPlatform({ name: 'x', platforms: ['linux/arm64'] });
  await writeOciLayout(join(dir, 'layout'), [{ name: 'site.test/acme/x:1', image }]);
  await run('tar', ['-cf', join(dir, 'a.tar'), '-C', join(dir, 'layout'), '.']);
  const podman = podmanIn(dir);
  await podman(['pull', '--quiet', '--arch', 'arm64', `oci-archive:${dir}/a.tar`]);
  const { stdout } = await podman(['images', '--all', '--format', '{{.ID}}']);
  const inspected = await podman(['image', 'inspect', '--format', '{{.Architecture}}', stdout.trim()]);
  assert.equal(inspected.stdout.trim(), 'arm64');
});

test('umoci unpacks the layers of an image', { skip: needs('umoci') }, async (t) => {
  const dir = temp(t);
  const { single } = assortment();
  assert.ok(single);
  await writeOciLayout(join(dir, 'layout'), [{ name: '1', image: single.image }]);
  await run('umoci', ['raw', 'unpack', '--rootless', '--image', `${dir}/layout:1`, join(dir, 'root')]);
  const { stdout } = await run('cat', [join(dir, 'root/etc/os-release'), join(dir, 'root/bin/app')]);
  assert.match(stdout, /airlift test system[^]*single for linux\/arm64/);
});

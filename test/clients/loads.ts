/** `airlift load` into each version of containerd and docker. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, delimiter, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { afterSuite } from '../support/after-suite.js';
import { airlift } from '../support/airlift.js';
import { busyboxImage, needsBusybox } from '../support/busybox.js';
import { startContainerd } from '../support/containerd.js';
import { importedCriImage } from '../support/cri.js';
import { startDockerd } from '../support/docker.js';
import { childOf, loadBundle, type LoadBundle } from '../support/loading.js';
import { temp } from '../support/temp.js';
import { dockerStores } from './docker-stores.js';
import { versionsOf } from './programs.js';

/** Returns an environment in which the programs beside `program` come first, as airlift finds `ctr` and `docker`. */
function environmentOf(program: string): { PATH: string } {
  return { PATH: [dirname(program), process.env['PATH'] ?? ''].join(delimiter) };
}

describe('load into engines', { skip: needsBusybox() }, () => {
  const t = afterSuite();
  const image = busyboxImage();
  const native = childOf(image, process.arch === 'x64' ? 'amd64' : 'arm64');
  const runs = ['-c', 'echo it runs'];
  let bundle: LoadBundle;
  let name: string;

  before(async () => {
    bundle = await loadBundle(t, { 'acme/box': image });
    name = bundle.names.get('acme/box') ?? '';
  });

  for (const { path, title } of versionsOf('containerd'))
    test(`${title}: pods find the image by tag and by digests, it is pinned, and it runs`, async (context) => {
      const containerd = await startContainerd({ program: path });
      context.after(() => containerd.stop());
      const load = ['load', bundle.path, '--into', 'containerd', '--address', containerd.address];
      const { stdout } = await airlift(load, { env: environmentOf(path) });
      assert.match(stdout, /^loaded 1 image for linux\/\w+ into containerd in .*, 0 already present$/m);
      for (const each of [
        `${name}:1`,
        `${name}@${image.root.digest}`,
        `${name}@${await bundle.filtered('acme/box')}`,
      ]) {
        const found = await importedCriImage(containerd.address, each);
        assert.equal(found.id, native.config, each);
        // containerd 1.6 does not know the label.
        assert.equal(found.pinned, !title.startsWith('containerd 1.6'), each);
      }
      const pin = `${name}@${image.root.digest}`;
      const ran = await containerd.ctr(['-n', 'k8s.io', 'run', '--rm', pin, 'box', '/bin/sh', ...runs]);
      assert.equal(ran.stdout, 'it runs\n');
      const again = await airlift(load, { env: environmentOf(path) });
      assert.match(again.stdout, /^loaded 0 images .*, 1 already present$/m);
    });

  for (const { program, title, usesContainerd, daemon, storageDriver } of dockerStores())
    test(`${title}: the image is found and runs`, async (context) => {
      const config = join(temp(context), 'daemon.json');
      writeFileSync(config, JSON.stringify(daemon));
      const dockerd = await startDockerd({ program, config, storageDriver });
      context.after(() => dockerd.stop());
      const load = ['load', bundle.path, '--into', 'docker', '--address', dockerd.host];
      const { stdout } = await airlift(load, { env: environmentOf(program) });
      assert.match(stdout, /^loaded 1 image for linux\/\w+ into docker in .*, 0 already present$/m);
      const names = [`${name}:1`, ...(usesContainerd ? [`${name}@${image.root.digest}`] : [])];
      for (const each of names) {
        const ran = await dockerd.docker([
          'run',
          '--rm',
          '--pull',
          'never',
          '--network',
          'none',
          each,
          ...runs,
        ]);
        assert.equal(ran.stdout, 'it runs\n', each);
      }
      const again = await airlift(load, { env: environmentOf(program) });
      assert.match(again.stdout, /^loaded 0 images .*, 1 already present$/m);
    });
});

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { busyboxImage, needsBusybox } from './busybox.js';
import { startContainerd } from './containerd.js';
import { startDockerRegistry } from './docker-registry.js';
import { startDockerd } from './docker.js';
import { writeOciLayout } from './oci-layout.js';
import { needs, run } from './peers.js';
import { pushImage } from './push-image.js';
import { temp } from './temp.js';

test(
  'containerd imports an image with real programs for three platforms',
  { skip: needs('containerd', 'tar') || needsBusybox() },
  async (t) => {
    const dir = temp(t);
    await writeOciLayout(join(dir, 'layout'), [{ name: 'latest', image: busyboxImage() }]);
    await run('tar', ['-cf', join(dir, 'a.tar'), '-C', join(dir, 'layout'), '.']);
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    const flags = ['--all-platforms', '--no-unpack', '--base-name', 'example.test/busybox'];
    await containerd.ctr(['images', 'import', ...flags, join(dir, 'a.tar')]);
    const { stdout } = await containerd.ctr(['images', 'ls']);
    assert.match(stdout, /example\.test\/busybox:latest.*linux\/amd64,linux\/arm\/v7,linux\/arm64/);
  },
);

test(
  'dockerd pulls each platform of an image',
  { skip: needs('dockerd', 'docker-registry') || needsBusybox() },
  async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    await pushImage(registry.host, 'busybox', '1', busyboxImage());
    const dockerd = await startDockerd();
    t.after(() => dockerd.stop());
    for (const platform of ['linux/amd64', 'linux/arm64', 'linux/arm/v7']) {
      const name = `${registry.host}/busybox:1`;
      await dockerd.docker(['pull', '--quiet', '--platform', platform, name]);
      const format = '{{.Os}}/{{.Architecture}}{{if .Variant}}/{{.Variant}}{{end}}';
      const { stdout } = await dockerd.docker(['image', 'inspect', '--format', format, name]);
      assert.equal(stdout.trim(), platform);
    }
  },
);

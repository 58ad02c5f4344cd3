/** The registry as other people's programs see it. What arrives is compared by a walk that shares no code with airlift. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { DirectoryStore } from '../../src/registry-server/store.js';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { startContainerd } from '../support/containerd.js';
import { startDockerd } from '../support/docker.js';
import { assortment, multiPlatform, commonPlatforms } from '../support/image-sets.js';
import { writeOciLayout } from '../support/oci-layout.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkLayout, walkRegistry } from '../support/walk.js';

async function start(t: Cleanup): Promise<string> {
  const server = createRegistryServer(await DirectoryStore.open(join(temp(t), 'store')));
  t.after(() => server.close());
  const { host, port } = await server.listen('127.0.0.1', 0);
  return `${host}:${port}`;
}

const image = (): ReturnType<typeof multiPlatform> =>
  multiPlatform({ name: 'acme/api', platforms: commonPlatforms });

test('every kind of image can be pushed and pulled unchanged', async (t) => {
  const host = await start(t);
  for (const { repository, tag, image: each } of Object.values(assortment())) {
    await pushImage(host, repository, tag, each);
    sameContent(
      (await walkRegistry(host, repository, tag ?? each.root.digest)).content,
      await walkImage(each),
    );
  }
});

test('skopeo pushes to it, copies within it and pulls from it', { skip: needs('skopeo') }, async (t) => {
  const host = await start(t);
  const dir = temp(t);
  await writeOciLayout(join(dir, 'in'), [{ name: 'v1', image: image() }]);
  const copy = ['copy', '--all', '--src-tls-verify=false', '--dest-tls-verify=false', '--insecure-policy'];
  await run('skopeo', [...copy, `oci:${join(dir, 'in')}:v1`, `docker://${host}/acme/api:v1`]);
  await run('skopeo', [...copy, `docker://${host}/acme/api:v1`, `docker://${host}/other/api:v2`]);
  await run('skopeo', [...copy, `docker://${host}/other/api:v2`, `oci:${join(dir, 'out')}:v1`]);
  sameContent((await walkLayout(join(dir, 'out'))).content, await walkImage(image()));
});

test('podman pulls from it and pushes to it', { skip: needs('podman') }, async (t) => {
  const host = await start(t);
  const dir = temp(t);
  await pushImage(host, 'acme/api', 'v1', image());
  const podman = (...args: string[]): ReturnType<typeof run> =>
    run('podman', [
      '--root',
      join(dir, 'root'),
      '--runroot',
      join(dir, 'run'),
      '--storage-driver',
      'vfs',
      ...args,
    ]);
  await podman('pull', '--quiet', '--tls-verify=false', '--arch', 'amd64', `${host}/acme/api:v1`);
  await podman('push', '--quiet', '--tls-verify=false', `${host}/acme/api:v1`, `${host}/podman/api:v1`);
  assert.ok((await walkRegistry(host, 'podman/api', 'v1')).content.size >= 3);
});

test(
  'containerd pulls every platform from it and pushes them to it',
  { skip: needs('containerd') },
  async (t) => {
    const host = await start(t);
    await pushImage(host, 'acme/api', 'v1', image());
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    const name = `${host}/acme/api:v1`;
    await containerd.ctr(['content', 'fetch', '--plain-http', '--all-platforms', name]);
    await containerd.ctr(['images', 'push', '--plain-http', `${host}/ctr/api:v2`, name]);
    sameContent((await walkRegistry(host, 'ctr/api', 'v2')).content, await walkImage(image()));
  },
);

test('docker pulls each platform from it and pushes it back', { skip: needs('dockerd') }, async (t) => {
  const host = await start(t);
  await pushImage(host, 'acme/api', 'v1', image());
  const dockerd = await startDockerd();
  t.after(() => dockerd.stop());
  for (const platform of commonPlatforms) {
    const name = `${host}/acme/api:v1`;
    await dockerd.docker(['pull', '--quiet', '--platform', platform, name]);
    const pushed = `docker/${platform.replaceAll('/', '-')}`;
    await dockerd.docker(['tag', name, `${host}/${pushed}:v1`]);
    await dockerd.docker(['push', '--quiet', `${host}/${pushed}:v1`]);
    const { content } = await walkRegistry(host, pushed, 'v1');
    assert.ok(content.size >= 3);
  }
});

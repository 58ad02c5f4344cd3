/** Clients pull a signed image for three platforms from `airlift serve` of a bundle that `airlift export` wrote. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { afterSuite } from '../support/after-suite.js';
import { airliftPath, stateEnv } from '../support/airlift.js';
import { needsBusybox } from '../support/busybox.js';
import { startContainerd } from '../support/containerd.js';
import { criImage, criPull } from '../support/cri.js';
import { startDaemon } from '../support/daemon.js';
import { startDockerd } from '../support/docker.js';
import { digestOf } from '../../src/oci/digest.js';
import { childOf } from '../support/loading.js';
import { run } from '../support/peers.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { dockerStores } from './docker-stores.js';
import { versionsOf } from './programs.js';
import { assertDiscovers, exportSigned, name, unsigned, type SignedBundle } from './signed-bundle.js';

describe('clients pull from a served bundle', { skip: needsBusybox() }, () => {
  const t = afterSuite();
  let bundle: SignedBundle;
  /** `127.0.0.1:PORT` */
  let host: string;
  /** The directory of the files that `serve --emit` wrote. */
  let nodes: string;
  const architecture = process.arch === 'x64' ? 'amd64' : 'arm64';

  before(async () => {
    bundle = await exportSigned(t, await serveStore(t));
    nodes = join(temp(t), 'nodes');
    const args = ['serve', bundle.path, '--listen', '127.0.0.1:0', '--emit', nodes];
    const serving = await startDaemon(process.execPath, [airliftPath, ...args], {
      log: join(temp(t), 'log'),
      env: stateEnv,
      ready: (log) => / at http:\/\/(127\.0\.0\.1:\d+), read-only/.exec(log)?.[1],
    });
    t.after(() => serving.stop());
    host = serving.answer;
  });

  for (const { path, title } of versionsOf('skopeo'))
    test(`${title} copies all platforms`, async (context) => {
      const layout = temp(context);
      const source = `docker://${host}/acme/box:1`;
      await run(path, ['copy', '--all', '--src-tls-verify=false', source, `oci:${layout}:1`]);
      assertRoot(layout, bundle);
    });

  for (const { path, title } of versionsOf('crane'))
    test(`${title} validates the image and pulls all platforms`, async (context) => {
      const image = `${host}/acme/box:1`;
      assert.equal(
        (await run(path, ['digest', '--insecure', image])).stdout.trim(),
        bundle.image.root.digest,
      );
      await run(path, ['validate', '--insecure', '--remote', image]);
      const layout = temp(context);
      await run(path, ['pull', '--insecure', '--format=oci', image, layout]);
      assertRoot(layout, bundle);
    });

  for (const { path, title } of versionsOf('oras'))
    test(
      `${title} copies the image with its signature and SBOM, and discovers them`,
      { skip: unsigned },
      async (context) => {
        const layout = temp(context);
        const image = `${host}/acme/box:1`;
        await run(path, ['cp', '--recursive', '--from-plain-http', image, '--to-oci-layout', `${layout}:1`]);
        assertRoot(layout, bundle);
        await assertDiscovers(path, image);
      },
    );

  for (const { path, title } of versionsOf('cosign'))
    test(`${title} verifies both signatures`, { skip: unsigned }, async () => {
      for (const image of [`${host}/acme/box:1`, `${host}/docker.io/acme/box@${bundle.image.root.digest}`])
        await bundle.signer?.verify(path, image);
    });

  for (const { path, title } of versionsOf('containerd'))
    test(`${title} pulls by the name of the source registry, as ctr and as the kubelet do`, async (context) => {
      const certs = join(nodes, 'certs.d');
      // Tables of version 2 and 3 of the file; each version of containerd reads one of them.
      const plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images'];
      const tables = plugins.map((plugin) => `[plugins.'${plugin}'.registry]\nconfig_path = '${certs}'\n`);
      const version = Number(/ (\d+)\./.exec(title)?.[1]) >= 2 ? 3 : 2;
      const config = `version = ${version}\n${tables[version - 2] ?? ''}`;
      const containerd = await startContainerd({ program: path, config });
      context.after(() => containerd.stop());

      await criPull(containerd.address, name);
      assert.equal(
        (await criImage(containerd.address, name))?.id,
        childOf(bundle.image, architecture).config,
      );

      await containerd.ctr(['content', 'fetch', '--hosts-dir', certs, '--all-platforms', name]);
      await containerd.ctr(['images', 'pull', '--hosts-dir', certs, name]);
      const { stdout } = await containerd.ctr(['images', 'ls', `name==${name}`]);
      assert.ok(stdout.includes(bundle.image.root.digest), stdout);
      const words = ['/bin/sh', '-c', 'echo it runs'];
      assert.equal((await containerd.ctr(['run', '--rm', name, 'box', ...words])).stdout, 'it runs\n');
    });

  for (const { program, title, daemon, storageDriver } of dockerStores())
    test(`${title} pulls from its mirror, by tag and by digest`, async (context) => {
      const config = join(temp(context), 'daemon.json');
      const mirror = { 'registry-mirrors': [`http://${host}`], 'insecure-registries': [host] };
      writeFileSync(config, JSON.stringify({ ...mirror, ...daemon }));
      const dockerd = await startDockerd({ program, config, storageDriver });
      context.after(() => dockerd.stop());
      const { digest } = bundle.image.root;
      for (const image of [
        'acme/box:1',
        `acme/box@${digest}`,
        `${host}/acme/box:1`,
        `${host}/docker.io/acme/box:1`,
      ]) {
        await dockerd.docker(['pull', '--quiet', image]);
        const { stdout } = await dockerd.docker(['image', 'inspect', '-f', '{{.RepoDigests}}', image]);
        assert.ok(stdout.includes(digest), `${image}: ${stdout}`);
      }
      const command = ['run', '--rm', '--network', 'none', 'acme/box:1', '-c', 'echo it runs'];
      assert.equal((await dockerd.docker(command)).stdout, 'it runs\n');
      // The mirror has no other image, and there is no internet.
      await assert.rejects(dockerd.docker(['pull', '--quiet', 'acme/none:1']));
    });
});

/** Asserts that an OCI layout has the image's index, with its bytes. */
function assertRoot(layout: string, { image }: SignedBundle): void {
  const { digest } = image.root;
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as {
    manifests: { digest: string }[];
  };
  assert.ok(index.manifests.some((manifest) => manifest.digest === digest));
  assert.equal(digestOf(readFileSync(join(layout, 'blobs', 'sha256', digest.slice(7)))), digest);
}

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parseReference, formatReference } from '../../src/oci/reference.js';
import type { NodeAccess } from '../../src/site/access.js';
import { emitNodeFiles } from '../../src/site/emit.js';
import { mapNames, type Site, type SiteName } from '../../src/site/names.js';
import { parseRenameRule } from '../../src/site/rename.js';
import { startContainerd } from '../support/containerd.js';
import { testDigest } from '../support/content.js';
import {
  startDockerRegistry,
  type DockerRegistry,
  type DockerRegistryOptions,
} from '../support/docker-registry.js';
import { multiPlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import type { TokenOptions } from '../support/token-server.js';
import { temp, type Cleanup } from '../support/temp.js';

const platforms = ['linux/amd64', 'linux/arm64'];
const references = ['redis:7', 'rancher/pause:3.1', 'registry.invalid:5001/acme/api:2'];

interface Published {
  readonly folder: string;
  readonly registry: DockerRegistry;
  readonly names: readonly SiteName[];
  readonly notes: readonly string[];
}

/** Creates a site: a registry with the images under their names at the site, and the files for its nodes. */
async function publish(
  t: Cleanup,
  naming: Omit<Site, 'registry'>,
  options: {
    readonly registry?: DockerRegistryOptions;
    readonly fallback?: boolean;
    readonly content?: string;
    readonly references?: readonly string[];
  } = {},
): Promise<Published> {
  const registry = await startDockerRegistry(options.registry);
  t.after(() => registry.stop());
  const site: Site = { registry: registry.host, ...naming };
  const images = new Map<string, TestImage>(
    (options.references ?? references).map((name) => [
      formatReference(parseReference(name)),
      multiPlatform({ name: `${options.content ?? ''} ${name}`, platforms }),
    ]),
  );
  const names = mapNames(
    site,
    [...images].map(([reference, image]) => ({
      source: parseReference(reference),
      digest: image.root.digest,
    })),
  );
  for (const { source, site: target } of names) {
    const image = images.get(formatReference(source));
    assert.ok(image !== undefined);
    await pushImage(registry.host, target.repository, target.tag, image, { ...pusher, ca: registry.ca });
  }
  const access: NodeAccess = {
    plainHttp: registry.ca === undefined,
    caFile: registry.ca,
    fallback: options.fallback,
  };
  const { files, notes } = emitNodeFiles(site, access, names);
  const folder = temp(t);
  for (const file of files) {
    mkdirSync(dirname(join(folder, file.path)), { recursive: true });
    writeFileSync(join(folder, file.path), file.text);
  }
  return { folder, registry, names, notes };
}

/** Returns the flags of `ctr images pull` for a node with the files in `folder`. */
function pullFlags(folder: string): string[] {
  const hosts = ['--hosts-dir', join(folder, 'certs.d')];
  return [...hosts, '--snapshotter', 'native', '--platform', 'linux/amd64'];
}

const pusher = { user: 'carrier', password: 'correct horse' };

const renamed = {
  prefix: 'p',
  rules: ['library/*=mirror/*', 'rancher/pause=tools/wait'].map(parseRenameRule),
};

for (const fallback of [false, true]) {
  test(
    `skopeo reads every image under its old name through registries.conf${fallback ? ' as a mirror' : ''}`,
    { skip: needs('docker-registry', 'skopeo') },
    async (t) => {
      const { folder, names } = await publish(t, renamed, { fallback });
      const how = ['--registries-conf', join(folder, 'registries.conf'), 'inspect', '--raw'];
      for (const { source, site, digest } of names) {
        for (const name of [source, { ...source, tag: undefined, digest }, site]) {
          const { bytes } = await run('skopeo', [...how, `docker://${formatReference(name)}`]);
          assert.equal(testDigest(bytes), digest, formatReference(name));
        }
      }
    },
  );
}

test('podman pulls under the old name', { skip: needs('docker-registry', 'podman') }, async (t) => {
  const { folder } = await publish(t, { keepRegistry: true });
  const store = temp(t);
  const podman = ['--root', join(store, 'root'), '--runroot', join(store, 'run'), '--storage-driver', 'vfs'];
  const env = { CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf') };
  await run('podman', [...podman, 'pull', '--quiet', 'docker.io/rancher/pause:3.1'], { env });
  const { stdout } = await run('podman', [...podman, 'images', '--format', '{{.Repository}}:{{.Tag}}'], {
    env,
  });
  assert.equal(stdout.trim(), 'docker.io/rancher/pause:3.1');
});

test(
  'containerd pulls images under their old names through certs.d, wherever they are at the site',
  { skip: needs('docker-registry', 'containerd', 'openssl') },
  async (t) => {
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    const token: TokenOptions = { users: { [pusher.user]: pusher.password }, anonymous: ['pull'] };
    const cases: [
      string,
      Omit<Site, 'registry'>,
      { registry?: DockerRegistryOptions; fallback?: boolean },
    ][] = [
      ['at the root', {}, {}],
      ['below a prefix, over TLS', { prefix: 'team/x' }, { registry: { tls: true } }],
      ['below their registries, as a mirror', { prefix: 'p', keepRegistry: true }, { fallback: true }],
      ['below a prefix, with tokens', { prefix: 'team/x' }, { registry: { token } }],
    ];
    for (const [where, naming, options] of cases) {
      const { folder, names, notes } = await publish(t, naming, { ...options, content: where });
      assert.deepEqual(notes, []);
      const how = pullFlags(folder);
      for (const { source, site, digest } of names) {
        for (const name of [source, site]) {
          await containerd.ctr(['images', 'pull', ...how, formatReference(name)]);
          const { stdout } = await containerd.ctr(['images', 'ls', `name==${formatReference(name)}`]);
          assert.ok(stdout.includes(digest), `${where}: ${stdout}`);
        }
      }
    }
  },
);

test(
  'a renamed image is never answered by the one that another registry has under its old path',
  { skip: needs('docker-registry', 'containerd', 'podman', 'skopeo') },
  async (t) => {
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    const { folder, names } = await publish(
      t,
      { rules: [parseRenameRule('docker.io/rancher/pause=k8s/pause')] },
      { references: ['rancher/pause:3.1', 'ghcr.io/rancher/pause:3.1'], content: 'renamed' },
    );
    const digests = new Map(names.map(({ source, digest }) => [formatReference(source), digest]));
    const how = pullFlags(folder);
    const ghcr = 'ghcr.io/rancher/pause:3.1';
    await containerd.ctr(['images', 'pull', ...how, ghcr]);
    const { stdout } = await containerd.ctr(['images', 'ls', `name==${ghcr}`]);
    assert.ok(stdout.includes(digests.get(ghcr) ?? 'no digest'), stdout);
    await assert.rejects(
      containerd.ctr(['images', 'pull', ...how, 'docker.io/rancher/pause:3.1']),
      /airlift-not-mapped\/docker\.io\/rancher\/pause:? ?.*not found|not found/,
    );
    const conf = join(folder, 'registries.conf');
    for (const [name, digest] of digests) {
      const inspect = ['--registries-conf', conf, 'inspect', '--raw', `docker://${name}`];
      assert.equal(testDigest((await run('skopeo', inspect)).bytes), digest, name);
    }
    // If the site lacks an image, the node requests it from no other registry.
    const store = temp(t);
    const podman = [
      '--root',
      join(store, 'root'),
      '--runroot',
      join(store, 'run'),
      '--storage-driver',
      'vfs',
    ];
    await assert.rejects(
      run('podman', [...podman, 'pull', '--quiet', 'docker.io/rancher/other:1'], {
        env: { CONTAINERS_REGISTRIES_CONF: conf },
      }),
      /blocked/,
    );
  },
);

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { importImages } from '../../src/import/import.js';
import { busybox, needsBusybox, type BusyboxPlatform } from '../support/busybox.js';
import { startContainerd, type Containerd } from '../support/containerd.js';
import { startDockerd, type Dockerd } from '../support/docker.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { imageOf, indexOf, layer, type DescriptorJson, type TestImage } from '../support/images.js';
import { needs, run, type Peer } from '../support/peers.js';
import { podmanIn } from '../support/podman.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { temp } from '../support/temp.js';
import { walkRegistry } from '../support/walk.js';

const platforms: readonly BusyboxPlatform[] = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'];
/** The ELF machine of each platform's programs. */
const machines: Readonly<Record<BusyboxPlatform, number>> = {
  'linux/amd64': 62,
  'linux/arm64': 183,
  'linux/arm/v7': 40,
};
const short = (platform: string): string => platform.split('/')[1] ?? '';

/** Copies the image of one platform with skopeo from a registry without TLS. */
async function skopeoCopy(platform: string, from: string, to: string): Promise<void> {
  const [os = '', architecture = '', variant = ''] = platform.split('/');
  const choice = ['--override-os', os, '--override-arch', architecture, '--override-variant', variant];
  await run('skopeo', [...choice, 'copy', '-q', '--src-tls-verify=false', from, to]);
}

const names = ['rancher/klipper-lb:v0.2.0', 'rancher/library-busybox:1.32.1', 'rancher/pause:3.1'];

/** Returns an image with real programs. As in reality, the arm config of the pause image states amd64. */
function realImage(name: string): TestImage {
  const children = platforms.map((platform) => {
    const content = readFileSync(busybox(platform) ?? '');
    const programs = layer(
      [
        { name: 'bin/', type: 'directory' },
        { name: 'bin/busybox', content, mode: 0o755 },
        { name: 'bin/sh', type: 'symlink', target: 'busybox' },
        { name: 'bin/cat', type: 'symlink', target: 'busybox' },
      ],
      { compression: 'stored-gzip', flavour: 'docker' },
    );
    const files = layer([{ name: 'name', content: `${name} for ${platform}\n` }], { flavour: 'docker' });
    const isLiar = name.startsWith('rancher/pause') && platform === 'linux/arm/v7';
    const config = {
      config: { Env: ['PATH=/bin'], Cmd: ['/bin/sh'] },
      ...(isLiar ? { architecture: 'amd64', variant: undefined } : {}),
    };
    return { image: imageOf({ flavour: 'docker', platform, layers: [programs, files], config }), platform };
  });
  return indexOf({ flavour: 'docker', children });
}

const wanted: Peer[] = ['docker-registry', 'skopeo', 'podman', 'containerd', 'dockerd', 'zstd', 'gzip'];

suite(
  'importing archives that real programs made',
  { skip: needs(...wanted) || needsBusybox(), timeout: 600_000 },
  () => {
    let source: DockerRegistry;
    let dockerd: Dockerd;
    let containerd: Containerd;
    let dir: string;
    const cleanup: (() => Promise<void> | void)[] = [];
    after(async () => {
      for (const work of cleanup.toReversed()) await work();
    });
    const images = new Map<string, TestImage>();

    before(async () => {
      dir = temp({ after: (work) => cleanup.push(work) });
      source = await startDockerRegistry();
      cleanup.push(() => source.stop());
      dockerd = await startDockerd();
      cleanup.push(() => dockerd.stop());
      containerd = await startContainerd();
      cleanup.push(() => containerd.stop());
      for (const name of names) {
        const image = realImage(name);
        images.set(name, image);
        const [repository = '', tag] = name.split(':');
        await pushImage(source.host, repository, tag, image);
      }
    });

    /** Functions that write an archive with all images for one platform. */
    const writers: Record<string, (platform: BusyboxPlatform, path: string) => Promise<void>> = {
      'docker save (20.10)': async (platform, path) => {
        for (const name of names) {
          await dockerd.docker(['pull', '-q', '--platform', platform, `${source.host}/${name}`]);
          await dockerd.docker(['tag', `${source.host}/${name}`, name]);
        }
        await dockerd.docker(['save', '-o', path, ...names]);
      },
      'podman save -m': async (platform, path) => {
        const podman = podmanIn(join(dir, `podman-${short(platform)}`));
        for (const name of names) {
          await podman([
            'pull',
            '-q',
            '--tls-verify=false',
            '--platform',
            platform,
            `${source.host}/${name}`,
          ]);
          await podman(['tag', `${source.host}/${name}`, `docker.io/${name}`]);
        }
        await podman(['save', '-q', '-m', '-o', path, ...names.map((name) => `docker.io/${name}`)]);
      },
      'ctr images export': async (platform, path) => {
        const ctr = (...args: string[]): Promise<unknown> =>
          containerd.ctr(['-n', short(platform), 'images', ...args]);
        for (const name of names) {
          await ctr('pull', '--plain-http', '--platform', platform, `${source.host}/${name}`);
          await ctr('tag', `${source.host}/${name}`, `docker.io/${name}`);
        }
        await ctr('export', '--platform', platform, path, ...names.map((name) => `docker.io/${name}`));
      },
    };

    async function compress(path: string, at: number): Promise<string> {
      if (at === 0) return path;
      await run(at === 1 ? 'gzip' : 'zstd', at === 1 ? [path] : ['-q', '-16', '--long=25', '--rm', path]);
      return `${path}${at === 1 ? '.gz' : '.zst'}`;
    }

    async function json<T>(host: string, path: string): Promise<T> {
      const types = [
        'docker.distribution.manifest.v2',
        'docker.distribution.manifest.list.v2',
        'oci.image.manifest.v1',
        'oci.image.index.v1',
      ];
      const accept = types.map((type) => `application/vnd.${type}+json`).join();
      return JSON.parse(
        (await askRegistry(host, { method: 'GET', path, headers: { accept } })).body.toString(),
      ) as T;
    }

    /** Asserts that the programs in each platform's layers are for that platform. */
    async function assertRight(host: string, name: string): Promise<void> {
      const [repository = '', tag = ''] = name.split(':');
      await walkRegistry(host, repository, tag);
      const raw = await run('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${host}/${name}`]);
      const { manifests } = JSON.parse(raw.stdout) as { manifests: DescriptorJson[] };
      assert.equal(manifests.length, 3);
      for (const { digest, platform } of manifests) {
        const key = [platform?.os, platform?.architecture, platform?.variant]
          .filter((part) => part !== undefined)
          .join('/');
        const platformName = key === 'linux/arm' ? 'linux/arm/v7' : (key as BusyboxPlatform);
        const { layers } = await json<{ layers: DescriptorJson[] }>(
          host,
          `/v2/${repository}/manifests/${digest}`,
        );
        const tars = [];
        for (const blob of layers) {
          const { body } = await askRegistry(host, {
            method: 'GET',
            path: `/v2/${repository}/blobs/${blob.digest}`,
          });
          tars.push(gunzipSync(body));
        }
        const whole = Buffer.concat(tars);
        assert.equal(
          whole.readUInt16LE(whole.indexOf('\x7fELF') + 18),
          machines[platformName],
          `${name} for ${key}`,
        );
        assert.ok(whole.includes(`${name} for ${platformName}\n`));
      }
    }

    async function imported(inputs: readonly string[]): Promise<{ host: string; warnings: string[] }> {
      const registry = await startDockerRegistry();
      cleanup.push(() => registry.stop());
      const warnings: string[] = [];
      await importImages({
        inputs,
        to: { registry: registry.host },
        registry: {},
        onEvent: (event) =>
          event.event === 'warning' && warnings.push(event.message.replaceAll(`${dir}/`, '')),
      });
      return { host: registry.host, warnings };
    }

    for (const [writer, write] of Object.entries(writers)) {
      test(`${writer}: every platform is its own, plain, gzipped and zstd`, async () => {
        const folder = join(dir, writer.replaceAll(/\W+/g, '-'));
        await mkdir(folder);
        const inputs: string[] = [];
        for (const [at, platform] of platforms.entries()) {
          const path = join(folder, `k3s-airgap-images-${short(platform)}.tar`);
          await write(platform, path);
          inputs.push(await compress(path, at));
        }
        const { host, warnings } = await imported(inputs);
        for (const name of names) await assertRight(host, name);
        const [warning, ...others] = warnings;
        assert.match(
          warning ?? '',
          /^rancher\/pause:3\.1 in \S+-arm\.tar\.zst: config says linux\/amd64, executables are arm; published as linux\/arm\/v7$/,
        );
        assert.deepEqual(others, []);
        if (writer.startsWith('ctr')) {
          for (const name of names) {
            const [repository = '', tag = ''] = name.split(':');
            assert.equal(
              (await walkRegistry(host, repository, tag)).root.digest,
              images.get(name)?.root.digest,
            );
          }
        }
        await assertPulled(host, folder);
        await rm(folder, { recursive: true });
      });
    }

    /** Pulls with programs that nodes use, and checks the results. */
    async function assertPulled(host: string, folder: string): Promise<void> {
      const name = `${host}/rancher/pause:3.1`;
      for (const platform of platforms) {
        const architecture = short(platform);
        const copy = join(folder, `copy-${architecture}`);
        await skopeoCopy(platform, `docker://${name}`, `dir:${copy}`);
        const { layers } = JSON.parse(await readFile(join(copy, 'manifest.json'), 'utf8')) as {
          layers: DescriptorJson[];
        };
        const tar = gunzipSync(await readFile(join(copy, layers[0]?.digest.slice(7) ?? '')));
        assert.equal(tar.readUInt16LE(tar.indexOf('\x7fELF') + 18), machines[platform]);

        await containerd.ctr([
          '-n',
          `pulled-${architecture}`,
          'images',
          'pull',
          '--plain-http',
          '--platform',
          platform,
          name,
        ]);

        await dockerd.docker(['pull', '-q', '--platform', platform, name]);
        const made = (await dockerd.docker(['create', name])).stdout.trim();
        const program = join(folder, `busybox-${architecture}`);
        await dockerd.docker(['cp', `${made}:/bin/busybox`, program]);
        assert.equal((await readFile(program)).readUInt16LE(18), machines[platform]);
        await dockerd.docker(['rm', made]);
      }
    }

    test('skopeo’s archives, one image each', async () => {
      const folder = join(dir, 'skopeo');
      await mkdir(folder);
      const name = 'rancher/klipper-lb:v0.2.0';
      for (const kind of ['docker-archive', 'oci-archive']) {
        const inputs: string[] = [];
        for (const [at, platform] of platforms.entries()) {
          const architecture = short(platform);
          const path = join(folder, `${kind}-${architecture}.tar`);
          await skopeoCopy(platform, `docker://${source.host}/${name}`, `${kind}:${path}:${name}`);
          inputs.push(await compress(path, at));
        }
        const { host, warnings } = await imported(inputs);
        await assertRight(host, name);
        assert.deepEqual(warnings, []);
      }
    });
  },
);

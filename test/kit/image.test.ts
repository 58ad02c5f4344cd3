import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { KitSummary } from '../../src/kit/summary.js';
import { afterSuite } from '../support/after-suite.js';
import { airlift } from '../support/airlift.js';
import { testCache } from '../support/busybox.js';
import { startContainerd } from '../support/containerd.js';
import { startDockerd } from '../support/docker.js';
import { imageOf, indexOf, layer, type TestImage } from '../support/images.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { podmanIn } from '../support/podman.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { needsRuntime, tarballs, version } from './local-kit.js';

const libraries = ['dl.so.2', 'stdc++.so.6', 'm.so.6', 'gcc_s.so.1', 'pthread.so.0', 'c.so.6'].map(
  (name) => `lib${name}`,
);
/** The name of the image. */
const name = `localhost/airlift:${version}`;

const arm64 = join(testCache(), 'arm64');

/** Returns an image with the C and C++ libraries of a root directory, as distroless images have. */
function libraryImage(platform: string, root: string, triplet: string, loader: string): TestImage {
  const places = libraries.map((name) => {
    const folders = [join(root, 'lib', triplet), join(root, 'usr/lib', triplet)];
    const folder = folders.find((path) => existsSync(join(path, name))) ?? '';
    return { name: `lib/${triplet}/${name}`, content: readFileSync(join(folder, name)), mode: 0o755 };
  });
  const linker = { name: loader, content: readFileSync(join(root, loader)), mode: 0o755 };
  const parents = [
    ...new Set(
      [...places, linker].flatMap(({ name }) =>
        name
          .split('/')
          .slice(0, -1)
          .map((_, at, parts) => `${parts.slice(0, at + 1).join('/')}/`),
      ),
    ),
  ];
  const folders = parents.map((name) => ({ name, type: 'directory' as const }));
  return imageOf({
    platform,
    layers: [layer([...folders, ...places, linker])],
    config: {
      config: { Env: ['PATH=/usr/local/bin'], Cmd: ['/bin/nothing'] },
      created: '2024-01-01T00:00:00Z',
    },
  });
}

const isAmd64 = process.arch === 'x64';
const skip =
  needsRuntime('linux/amd64', 'linux/arm64') ||
  needs('podman', 'containerd', 'ctr', 'dockerd', 'skopeo', 'sha256sum') ||
  (!existsSync(join(arm64, 'lib', 'ld-linux-aarch64.so.1')) &&
    'no libraries for arm64 (.ci/run fetches them)') ||
  (!isAmd64 && 'needs a machine of linux/amd64');

describe('airlift as a container image', { skip }, () => {
  const t = afterSuite();
  const output = temp(t);
  let summary: KitSummary;
  let registry: string;

  before(async () => {
    registry = await serveStore(t);
    const children = [
      libraryImage('linux/amd64', '/', 'x86_64-linux-gnu', 'lib64/ld-linux-x86-64.so.2'),
      libraryImage('linux/arm64', arm64, 'aarch64-linux-gnu', 'lib/ld-linux-aarch64.so.1'),
    ];
    await pushImage(registry, 'distroless/cc', 'latest', indexOf({ children }));
    const { stdout } = await airlift([
      ...['kit', '--image', '--base', `${registry}/distroless/cc`, '--from', tarballs],
      ...['-o', output, '--json', '-q'],
    ]);
    summary = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as KitSummary;
  });

  test('is part of the kit, with both platforms', async () => {
    assert.deepEqual(summary.images, ['image.tar', 'image-linux-amd64.tar.gz', 'image-linux-arm64.tar.gz']);
    await run('sha256sum', ['-c', '--strict', 'SHA256SUMS'], { cwd: summary.directory });
    const archive = `oci-archive:${join(summary.directory, 'image.tar')}`;
    for (const architecture of ['amd64', 'arm64']) {
      const { stdout } = await run(
        'skopeo',
        ['--override-arch', architecture, 'inspect', '--config', archive],
        {},
      );
      const config = JSON.parse(stdout) as {
        architecture: string;
        config: Record<string, unknown>;
        rootfs: { diff_ids: string[] };
      };
      assert.equal(config.architecture, architecture);
      assert.deepEqual(config.config['Entrypoint'], ['/usr/local/bin/airlift']);
      assert.equal(config.config['Cmd'], undefined);
      assert.deepEqual(config.config['Env'], ['PATH=/usr/local/bin']);
      assert.equal(config.rootfs.diff_ids.length, 2);
    }
    assert.match(readFileSync(summary.readme, 'utf8'), /podman load -i airlift\/image\.tar/);
  });

  test('podman loads it and runs it', async (context) => {
    const podman = podmanIn(temp(context));
    await podman(['load', '-i', join(summary.directory, 'image.tar')]);
    const format = ['--format', '{{.Architecture}} {{.Config.Entrypoint}}'];
    const { stdout } = await podman(['image', 'inspect', ...format, name]);
    assert.equal(stdout, 'amd64 [/usr/local/bin/airlift]\n');
    // Limits that this machine allows: podman's own are higher than those of a container that runs these tests.
    const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
    const container = ['--cgroup-manager', 'cgroupfs', 'run', '--rm', '--network', 'none', ...limits, name];
    assert.equal((await podman([...container, '--version'])).stdout, `${version}\n`);
  });

  test('containerd imports it and runs it', async () => {
    const containerd = await startContainerd();
    try {
      await containerd.ctr(['images', 'import', join(summary.directory, 'image.tar')]);
      const { stdout } = await containerd.ctr(['images', 'ls']);
      assert.match(stdout, /localhost\/airlift:[\d.]+ .*linux\/amd64,linux\/arm64/);
      const words = ['/usr/local/bin/airlift', '--version'];
      const ran = await containerd.ctr(['run', '--rm', name, 'box', ...words]);
      assert.equal(ran.stdout, `${version}\n`);
    } finally {
      await containerd.stop();
    }
  });

  test('docker loads it and verifies a bundle in a mounted directory', async (context) => {
    const dir = temp(context);
    const web = singlePlatform('linux/amd64', { name: 'web' });
    await pushImage(registry, 'acme/web', '1', web);
    await airlift(['export', `${registry}/acme/web:1`, '-o', join(dir, 'site.tar'), '-q']);
    const dockerd = await startDockerd();
    try {
      await dockerd.docker(['load', '-i', join(summary.directory, 'image-linux-amd64.tar.gz')]);
      const container = ['run', '--rm', '--network', 'none', '-v', `${dir}:/media`, name];
      const { stdout } = await dockerd.docker([...container, 'verify', 'site.tar']);
      assert.match(stdout, /^verified site\.tar: 1 image, .* nothing lost or changed\n/);
    } finally {
      await dockerd.stop();
    }
  });

  test('a base that cannot be read is an error that names the flag, before anything is written', async (context) => {
    const dir = temp(context);
    const kit = ['kit', '--platform', 'linux/amd64', '--from', tarballs, '-o', dir, '-q'];
    const base = ['--image', '--base', '127.0.0.1:1/distroless/cc', '--retries', '0'];
    const { stderr } = await airlift([...kit, ...base], { codes: [1] });
    assert.match(
      stderr,
      /^read the base image: resolve 127\.0\.0\.1:1\/distroless\/cc:latest: .*\n {2}hint: .* --base$/m,
    );
    assert.ok(!existsSync(join(dir, 'airlift', 'SHA256SUMS')));
    const unused = await airlift([...kit, '--base', 'x'], { codes: [2] });
    assert.match(
      unused.stderr,
      /--base is the base of an image, and no image is written\n {2}hint: add --image/,
    );
  });

  test('a base without a platform is an error', async (context) => {
    await pushImage(registry, 'only/amd64', '1', singlePlatform('linux/amd64', { name: 'x' }));
    const { stderr } = await airlift(
      [
        'kit',
        '--image',
        '--base',
        `${registry}/only/amd64:1`,
        '--platform',
        'linux/arm64',
        '--from',
        tarballs,
        '-o',
        temp(context),
        '-q',
      ],
      { codes: [1] },
    );
    assert.match(
      stderr,
      /the base image lacks linux\/arm64\n {2}hint: choose another base image with --base, or fewer platforms/,
    );
  });
});

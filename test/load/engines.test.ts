import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift, airliftPath } from '../support/airlift.js';
import { busyboxImage, needsBusybox } from '../support/busybox.js';
import { startContainerd, type Containerd } from '../support/containerd.js';
import { criImage, importedCriImage } from '../support/cri.js';
import { startDockerd, type Dockerd } from '../support/docker.js';
import { multiPlatform } from '../support/image-sets.js';
import { childOf, loadBundle, type LoadBundle } from '../support/loading.js';
import { needs, peerPath, run } from '../support/peers.js';
import { podmanFlags, podmanIn } from '../support/podman.js';
import { startAirlift } from '../support/started.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

const pinLabel = 'io.cri-containerd.pinned=pinned';
const isAmd64 = process.arch === 'x64';

describe('loading into engines', { skip: needsBusybox() }, () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  const image = busyboxImage();
  const large = multiPlatform({ name: 'large', bigBytes: 8_000_000 });
  const native = childOf(image, isAmd64 ? 'amd64' : 'arm64');
  const foreign = childOf(image, isAmd64 ? 'arm64' : 'amd64');
  const foreignPlatform = isAmd64 ? 'linux/arm64' : 'linux/amd64';
  let bundle: LoadBundle;
  let name = '';

  before(async () => {
    const suite = { after: (work: () => Promise<void> | void) => void cleanups.push(work) };
    bundle = await loadBundle(suite, { 'acme/box': image, 'acme/large': large });
    name = bundle.names.get('acme/box') ?? '';
  });
  after(async () => {
    for (const work of cleanups.toReversed()) await work();
  });

  describe('containerd', { skip: needs('containerd') }, () => {
    let containerd: Containerd;
    const flags = (): string[] => ['--into', 'containerd', '--address', containerd.address];
    before(async () => (containerd = await startContainerd()));
    after(() => containerd?.stop());

    /** Returns the digest and labels of each name in a namespace. */
    async function stored(namespace: string): Promise<Map<string, { digest: string; labels: string }>> {
      const { stdout } = await containerd.ctr(['--namespace', namespace, 'images', 'ls']);
      const rows = stdout
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => line.split(/\s+/));
      return new Map(
        rows.map((row) => [row[0] ?? '', { digest: row[2] ?? '', labels: (row[6] ?? '').trim() }]),
      );
    }

    test('the kubelet finds an image by its tag and by both digests, and it is pinned', async () => {
      const first = await airlift(['load', bundle.path, ...flags()]);
      assert.match(first.stderr, /^2 images, \d+ blobs, [\d.]+ MB to transfer$/m);
      assert.match(first.stdout, new RegExp(`^loaded: ${name}:1 ${native.manifest}$`, 'm'));
      assert.match(
        first.stdout,
        /^loaded 2 images for linux\/\w+ into containerd in .*, 0 already present$/m,
      );
      const names = await stored('k8s.io');
      const digests = [image.root.digest, await bundle.filtered('acme/box')];
      assert.notEqual(digests[0], digests[1]);
      for (const each of [`${name}:1`, ...digests.map((digest) => `${name}@${digest}`)]) {
        assert.equal(names.get(each)?.digest, native.manifest, each);
        assert.ok(names.get(each)?.labels.includes(pinLabel), each);
        assert.equal((await importedCriImage(containerd.address, each)).id, native.config, each);
      }
      assert.equal((await importedCriImage(containerd.address, `${name}:1@${digests[0]}`)).id, native.config);
      assert.equal(await criImage(containerd.address, `${name}:2`), undefined);
      const { stdout: check } = await containerd.ctr(['--namespace', 'k8s.io', 'images', 'check']);
      assert.equal(check.match(/ complete \(/g)?.length, names.size);
      const again = await airlift(['load', bundle.path, ...flags(), '--json', '-q']);
      const done = JSON.parse(again.stdout.trimEnd().split('\n').at(-1) ?? '') as {
        images: { outcome: string }[];
      };
      assert.deepEqual(
        done.images.map(({ outcome }) => outcome),
        ['present', 'present'],
      );
    });

    test('a container starts by the digest of the publisher’s index', async () => {
      await airlift(['load', bundle.path, ...flags(), '--namespace', 'runs', '--image', `${name}:1`]);
      const command = ['/bin/sh', '-c', 'echo it runs'];
      const pin = `${name}@${image.root.digest}`;
      const { stdout } = await containerd.ctr(['--namespace', 'runs', 'run', '--rm', pin, 'box', ...command]);
      assert.equal(stdout, 'it runs\n');
    });

    test('an image that lost its label or its content is pinned or loaded again', async () => {
      const ctr = (...args: string[]): Promise<unknown> => containerd.ctr(['--namespace', 'lost', ...args]);
      const load = async (...more: string[]): Promise<string> =>
        (await airlift(['load', bundle.path, ...flags(), '--namespace', 'lost', ...more])).stdout;
      await load('--no-pin');
      assert.equal((await stored('lost')).get(`${name}:1`)?.labels, '-');
      assert.match(await load(), new RegExp(`^present: ${name}:1 `, 'm'));
      assert.equal((await stored('lost')).get(`${name}:1`)?.labels, pinLabel);
      await ctr('content', 'rm', native.config);
      const out = await load();
      assert.match(out, new RegExp(`^loaded: ${name}:1 `, 'm'));
      assert.match(out, /^loaded 1 image .* 1 already present$/m);
      const { stdout } = await containerd.ctr(['--namespace', 'lost', 'images', 'check']);
      assert.doesNotMatch(stdout, /incomplete|unavailable/);
    });

    test('--platform loads another platform, without unpacking it', async () => {
      await airlift(['load', bundle.path, ...flags(), '--namespace', 'other', '--platform', foreignPlatform]);
      assert.equal((await stored('other')).get(`${name}:1`)?.digest, foreign.manifest);
      const { stdout } = await containerd.ctr(['--namespace', 'other', 'images', 'check']);
      assert.match(stdout, new RegExp(`^${name}:1 .* complete \\(\\d/\\d\\) .* false$`, 'm'));
    });

    test('a load that is killed leaves no half image under a name, and the next one continues', async (t) => {
      const dir = temp(t);
      // The second import waits in the middle of the archive until airlift has been killed.
      const script = `#!/bin/sh
        case " $* " in *' images import '*) ;; *) exec '${peerPath('ctr')}' "$@";; esac
        if [ ! -e first ]; then touch first; exec '${peerPath('ctr')}' "$@"; fi
        { head -c 1000000; touch middle; while [ ! -e killed ]; do sleep 0.02; done; cat; } | '${peerPath('ctr')}' "$@"
        echo $? > code; mv code ended`;
      writeFileSync(join(dir, 'ctr'), script, { mode: 0o755 });
      const args = ['load', bundle.path, ...flags(), '--namespace', 'killed'];
      const env = { PATH: `${dir}:${process.env['PATH']}` };
      const loading = startAirlift(args, { cwd: dir, env });
      await until('the second image is sent', () => existsSync(join(dir, 'middle')));
      loading.send('SIGKILL');
      await loading.ended;
      writeFileSync(join(dir, 'killed'), '');
      await until('ctr ends', () => existsSync(join(dir, 'ended')));
      assert.notEqual(readFileSync(join(dir, 'ended'), 'utf8'), '0\n');
      assert.equal((await stored('killed')).size, 3);
      const { stdout } = await airlift(args);
      assert.match(stdout, /^loaded 1 image .*, 1 already present$/m);
      assert.equal((await stored('killed')).size, 6);
    });

    test('Ctrl-C ends a load at once, with exit code 130', async (t) => {
      const dir = temp(t);
      const script = `#!/bin/sh
        case " $* " in *' images import '*) head -c 1000000 >/dev/null; touch middle; exec sleep 60;; esac
        exec '${peerPath('ctr')}' "$@"`;
      writeFileSync(join(dir, 'ctr'), script, { mode: 0o755 });
      const args = ['load', bundle.path, ...flags(), '--namespace', 'stopped'];
      const loading = startAirlift(args, { cwd: dir, env: { PATH: `${dir}:${process.env['PATH']}` } });
      await until('the first image is sent', () => existsSync(join(dir, 'middle')));
      loading.send('SIGINT');
      const { code, stderr } = await loading.ended;
      assert.equal(code, 130, stderr);
      assert.match(stderr, /hint: run the same command again/);
      assert.equal((await stored('stopped')).size, 0);
    });
  });

  describe('docker', { skip: needs('dockerd') }, () => {
    let dockerd: Dockerd;
    const load = async (...args: string[]): Promise<string> =>
      (await airlift(['load', bundle.path, '--into', 'docker', '--address', dockerd.host, ...args])).stdout;
    const id = async (): Promise<string> => {
      const { stdout } = await dockerd.docker(['image', 'inspect', '--format', '{{.Id}}', `${name}:1`]);
      return stdout.trim();
    };
    before(async () => (dockerd = await startDockerd()));
    after(() => dockerd?.stop());

    test('docker has each image under its name, with the published config, and runs it', async () => {
      assert.match(await load(), /^loaded 2 images for linux\/\w+ into docker in .*, 0 already present$/m);
      assert.equal(await id(), native.config);
      const args = ['run', '--rm', '--network', 'none', `${name}:1`, '-c', 'echo it runs'];
      assert.equal((await dockerd.docker(args)).stdout, 'it runs\n');
      assert.match(await load(), /^loaded 0 images .*, 2 already present$/m);
    });

    test('--platform replaces the image by that of another platform', async () => {
      assert.match(await load('--platform', foreignPlatform, '--image', `${name}:1`), /^loaded 1 image /m);
      assert.equal(await id(), foreign.config);
    });
  });

  describe('podman', { skip: needs('podman') }, () => {
    test('podman finds an image by its tag and by its digests', async (t) => {
      const dir = temp(t);
      const podman = podmanIn(join(dir, 'storage'));
      const command = [peerPath('podman'), ...podmanFlags(join(dir, 'storage'))].join(' ');
      writeFileSync(join(dir, 'podman'), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
      const env = { PATH: `${dir}:${process.env['PATH']}` };
      const load = async (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
        airlift(['load', bundle.path, '--into', 'podman', ...args], { env });
      assert.match(
        (await load()).stdout,
        /^loaded 2 images for linux\/\w+ into podman in .*, 0 already present$/m,
      );
      for (const each of [`${name}:1`, `${name}@${image.root.digest}`, `${name}@${native.manifest}`]) {
        const { stdout } = await podman(['image', 'inspect', '--format', '{{.Id}}', each]);
        assert.equal(`sha256:${stdout.trim()}`, native.config, each);
      }
      assert.match((await load()).stdout, /^loaded 0 images .*, 2 already present$/m);
      const other = await load('--platform', foreignPlatform, '--image', `${name}:1`);
      assert.match(other.stdout, /^loaded 1 image /m);
      const { stdout } = await podman(['image', 'inspect', '--format', '{{.Id}} {{.Digest}}', `${name}:1`]);
      assert.equal(stdout.trim(), `${foreign.config.replace('sha256:', '')} ${foreign.manifest}`);
    });
  });

  test('a missing engine, a missing socket and a missing platform are errors with the next command', async () => {
    for (const [args, message, hint] of [
      [
        ['--into', 'containerd', '--address', '/none/containerd.sock'],
        /^load into containerd: no socket at \/none\/containerd\.sock$/m,
        /hint: start the engine: systemctl start containerd; or name its socket with --address/,
      ],
      [
        ['--into', 'microk8s'],
        /^load into microk8s: run microk8s: it is not installed, or not in PATH$/m,
        /hint: install microk8s, or choose another engine with --into/,
      ],
      [
        ['--into', 'k3s', '--data-dir', '/none', '--platform', 'linux/s390x'],
        /^load: no image for the platform; got linux\/amd64, linux\/arm64, want linux\/s390x$/m,
        /hint: choose among these platforms with --platform/,
      ],
      [
        ['--into', 'docker', '--to-folder'],
        /^load into docker: it imports no directory$/m,
        /hint: only k3s, rke2 and k0s do; leave out --to-folder/,
      ],
    ] as const) {
      const { stderr } = await airlift(['load', bundle.path, ...args], { codes: [1, 2] });
      assert.match(stderr, message);
      assert.match(stderr, hint);
    }
  });

  const skip = needs('containerd', 'setpriv') || (process.getuid?.() !== 0 && 'requires root');
  test('a socket that the user may not open is an error whose hint is sudo', { skip }, async (t) => {
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    await run('chmod', ['755', join(containerd.address, '..')]);
    const user = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
    const command = [process.execPath, airliftPath, 'load', bundle.path, '--into', 'containerd'];
    const { stderr } = await run(
      peerPath('setpriv'),
      [...user, ...command, '--address', containerd.address],
      { codes: [1], env: { HOME: '/none' } },
    );
    assert.match(stderr, /load into containerd: open .*containerd\.sock: permission denied \(EACCES\)/);
    assert.match(stderr, /hint: run airlift as a user who may use the engine: sudo airlift load/);
  });
});

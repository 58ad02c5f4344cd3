import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airliftPath, stateEnv } from '../support/airlift.js';
import { busyboxImage, needsBusybox } from '../support/busybox.js';
import { startContainerd } from '../support/containerd.js';
import { criImage, importedCriImage } from '../support/cri.js';
import { docExamples, masked, projectFile } from '../support/doc-examples.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startDockerd } from '../support/docker.js';
import { newHome } from '../support/home.js';
import { needs, peerPath, run } from '../support/peers.js';
import { podmanFlags, podmanIn } from '../support/podman.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';

const names = {
  pause: 'docker.io/rancher/mirrored-pause:3.6',
  busybox: 'docker.io/library/busybox:1.36',
  web: 'ghcr.io/acme/web:1.0',
} as const;

describe('the pages about sites show commands that work', { skip: needsBusybox() }, () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  const suite: Cleanup = { after: (work) => void cleanups.push(work) };
  const image = busyboxImage();
  let source = '';

  before(async () => {
    source = await serveStore(suite);
    for (const name of Object.values(names)) {
      const [, repository = '', tag = ''] = /^[^/]+\/(.*):(.*)$/.exec(name) ?? [];
      await pushImage(source, repository, tag, image);
    }
  });
  after(async () => {
    for (const work of cleanups.toReversed()) await work();
  });

  /** A machine at a site, whose directories are below a temporary one, with stand-ins for what cannot be installed here. */
  class Machine {
    readonly dir: string;
    readonly #bin: string;
    readonly #env: NodeJS.ProcessEnv;
    /** Directories in the documentation, and where they are on this machine. */
    readonly #places: readonly (readonly [string, string])[];

    constructor(
      t: Cleanup,
      readonly site: string,
      env: Readonly<Record<string, string>> = {},
    ) {
      this.dir = temp(t);
      this.#bin = join(this.dir, 'programs');
      const home = newHome(t);
      this.#env = { ...process.env, ...stateEnv, ...home.env, ...env };
      this.#env['PATH'] = `${this.#bin}${delimiter}${process.env['PATH']}`;
      const at = (name: string): string => join(this.dir, name);
      this.#places = [
        ['/mnt/usb', at('usb')],
        ['/etc/', at('etc/')],
        ['/usr/local/bin', at('installed')],
        ['/var/lib/rancher', at('rancher')],
      ];
      for (const name of ['usb/rke2', 'etc/containerd', 'installed', 'rancher/rke2/bin', 'programs'])
        mkdirSync(at(name), { recursive: true });
      mkdirSync(join(home.dir, '.config', 'containers'), { recursive: true });
      const conf = ['docker.io', 'ghcr.io'].map(
        (name) => `[[registry]]\nprefix = "${name}"\nlocation = "${source}"\ninsecure = true\n`,
      );
      writeFileSync(join(home.dir, '.config', 'containers', 'registries.conf'), conf.join(''));
      this.script('sudo', 'exec "$@"');
      for (const name of ['systemctl', 'kubeadm', 'kubectl', 'k3s']) this.script(name, 'exit 0');
      this.script('kubectl', 'exit 0', at('rancher/rke2/bin'));
      writeFileSync(at('usb/k3s'), 'k3s');
      for (const name of ['usb/install.sh', 'usb/rke2/install.sh'])
        writeFileSync(at(name), `env > ${at('installed/env')}\n`);
      this.airlift('');
    }

    /** Writes a program that runs before those of the same name. */
    script(name: string, body: string, directory = this.#bin): void {
      writeFileSync(join(directory, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(directory, name), 0o755);
    }

    /** Writes a program that runs airlift; `load` gets more flags, which name what is elsewhere on this machine. */
    airlift(flags: string): void {
      const start = `exec '${process.execPath}' '${airliftPath}'`;
      this.script('airlift', `if [ "$1" = load ]; then ${start} "$@" ${flags}; else ${start} "$@"; fi`);
    }

    file(path: string, text: string): void {
      writeFileSync(join(this.dir, path), text);
    }

    text(path: string): string {
      return readFileSync(join(this.dir, path), 'utf8');
    }

    /** Runs all commands of a page, in order, and compares the output where the page shows it. */
    async follow(page: string): Promise<void> {
      const examples = docExamples(page);
      assert.ok(examples.length > 3, 'the page shows commands');
      for (const { where, command, output } of examples) {
        let line = command.replaceAll('registry.site:5000', this.site);
        for (const [name, place] of this.#places) line = line.replaceAll(name, place);
        const { stdout } = await run('sh', ['-c', `exec 2>&1; ${line}`], { cwd: this.dir, env: this.#env });
        // The bundle of a later trip holds the same images here.
        const bundle = join(this.dir, 'usb', 'site.tar');
        if (existsSync(bundle)) copyFileSync(bundle, join(this.dir, 'usb', 'update.tar'));
        if (output.length === 0) continue;
        let got = stdout.trimEnd();
        for (const [name, place] of this.#places) got = got.replaceAll(place, name);
        const machine = process.arch === 'x64' ? 'amd64' : process.arch;
        got = got
          .replaceAll(`linux/${machine}`, 'linux/amd64')
          .replaceAll(`-images-${machine}`, '-images-amd64');
        assert.deepEqual(masked(got.split('\n')), masked(output), `${where}: ${command}`);
      }
    }
  }

  const pod = (...images: string[]): string =>
    images
      .map((name) => `apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - image: ${name}\n`)
      .join('---\n');

  for (const engine of ['k3s', 'rke2'] as const) {
    test(`docs/sites/${engine}.md`, async (t) => {
      const machine = new Machine(t, await serveStore(t));
      machine.airlift(`--data-dir ${machine.dir}/rancher/${engine}`);
      const list = engine === 'k3s' ? 'k3s-images.txt' : 'rke2-images-all.linux-amd64.txt';
      machine.file(list, `${names.pause}\n`);
      machine.file('app.yaml', pod(names.web));
      await machine.follow(`docs/sites/${engine}.md`);
      assert.match(machine.text('installed/env'), /^INSTALL_(?:K3S_SKIP_DOWNLOAD|RKE2_ARTIFACT_PATH)=/m);
      const registries = machine.text(`etc/rancher/${engine}/registries.yaml`);
      assert.ok(registries.includes(machine.site));
    });
  }

  test('docs/sites/kubernetes.md', { skip: needs('containerd') }, async (t) => {
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    const machine = new Machine(t, await serveStore(t), { CONTAINERD_ADDRESS: containerd.address });
    machine.file('kubeadm-images.txt', `${names.pause}\n`);
    machine.file('app.yaml', pod(names.web));
    machine.script('kubectl', `[ "$1" != wait ] || touch ${machine.dir}/waited`);
    await machine.follow('docs/sites/kubernetes.md');
    assert.ok(existsSync(join(machine.dir, 'waited')));
    // The page ends by removing the tag of one image; its digest is still pinned.
    assert.ok(await importedCriImage(containerd.address, names.pause));
    assert.equal(await criImage(containerd.address, names.web), undefined);
    const pin = names.web.replace(/:1\.0$/, `@${image.root.digest}`);
    assert.ok(await importedCriImage(containerd.address, pin));
    const hosts = ['--hosts-dir', join(machine.dir, 'etc/containerd/certs.d')];
    await containerd.ctr(['--namespace', 'pulled', 'images', 'pull', ...hosts, names.web]);
    const conf = machine.text('etc/containers/registries.conf.d/50-airlift.conf');
    assert.ok(conf.includes(machine.site));
  });

  test('docs/sites/docker.md', { skip: needs('dockerd') }, async (t) => {
    const dockerd = await startDockerd();
    t.after(() => dockerd.stop());
    const machine = new Machine(t, '', { DOCKER_HOST: dockerd.host });
    machine.file('compose.yaml', `services:\n  a:\n    image: busybox:1.36\n  b:\n    image: ${names.web}\n`);
    await machine.follow('docs/sites/docker.md');
  });

  test('docs/sites/podman.md', { skip: needs('podman') }, async (t) => {
    const machine = new Machine(t, await serveStore(t));
    const storage = join(machine.dir, 'storage');
    // podman would raise limits above those of the machine, which a container of CI may not do.
    const limits = '--ulimit nofile=1024:1024 --ulimit nproc=1000:1000';
    machine.script(
      'podman',
      `verb=$1; shift; [ "$verb" = run ] && set -- ${limits} "$@"
      exec ${peerPath('podman')} ${podmanFlags(storage).join(' ')} "$verb" "$@"`,
    );
    machine.file('images.txt', `${names.busybox}\n${names.web}\n`);
    await machine.follow('docs/sites/podman.md');
    const env = {
      CONTAINERS_REGISTRIES_CONF: join(machine.dir, 'etc/containers/registries.conf.d/50-airlift.conf'),
    };
    const other = podmanIn(join(machine.dir, 'other'));
    await other(['pull', '--quiet', names.web], { env });
  });

  test(
    'a password in hosts.toml, and one in podman’s file for the name of the site, reach a mirror',
    { skip: needs('docker-registry', 'htpasswd', 'containerd', 'podman') },
    async (t) => {
      const user = { user: 'node', password: 'secret' };
      const registry = await startDockerRegistry({ htpasswd: user });
      t.after(() => registry.stop());
      await pushImage(registry.host, 'acme/web', '1.0', image, user);
      const auth = Buffer.from('node:secret').toString('base64');
      assert.ok(readFileSync(projectFile('docs/sites/kubernetes.md'), 'utf8').includes(`"Basic ${auth}"`));
      const containerd = await startContainerd();
      t.after(() => containerd.stop());
      const dir = temp(t);
      const pull = async (folder: string, header: string, codes: number[]): Promise<void> => {
        const host = `[host."http://${registry.host}"]\n  capabilities = ["pull", "resolve"]\n${header}`;
        mkdirSync(join(dir, folder, 'ghcr.io'), { recursive: true });
        const text = `server = "http://${registry.host}"\n${host}`;
        writeFileSync(join(dir, folder, 'ghcr.io', 'hosts.toml'), text);
        await containerd.ctr(['images', 'pull', '--hosts-dir', join(dir, folder), names.web], { codes });
      };
      await pull('without', '', [1]);
      await pull(
        'with',
        `  [host."http://${registry.host}".header]\n    authorization = "Basic ${auth}"\n`,
        [0],
      );

      const env = { CONTAINERS_REGISTRIES_CONF: join(dir, 'registries.conf') };
      const mirror = `prefix = "ghcr.io"\nlocation = "${registry.host}"\ninsecure = true\n`;
      writeFileSync(env.CONTAINERS_REGISTRIES_CONF, `[[registry]]\n${mirror}`);
      const podman = podmanIn(join(dir, 'storage'));
      const authFile = (host: string): string[] => {
        writeFileSync(join(dir, 'auth.json'), JSON.stringify({ auths: { [host]: { auth } } }));
        return ['--authfile', join(dir, 'auth.json')];
      };
      await podman(['pull', ...authFile('ghcr.io'), names.web], { env, codes: [125] });
      await podman(['pull', ...authFile(registry.host), names.web], { env });
      // A short name needs a registry to search.
      const short = await podman(['pull', 'unknown:1.0'], { env, codes: [125] });
      assert.match(short.stderr, /no unqualified-search registries are defined/);
    },
  );
});

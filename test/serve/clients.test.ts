/** Real clients pull from served bundles and archives: with the settings that `serve` prints, and over TLS with a password. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { spawn } from 'node:child_process';
import { test, type TestContext } from 'node:test';
import { readRegistriesYaml } from '../../src/registries-yaml.js';
import { airliftPath, stateEnv } from '../support/airlift.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { issueCertificate, makeAuthority, type KeyPair } from '../support/certificates.js';
import { bytesOf } from '../support/content.js';
import { startContainerd } from '../support/containerd.js';
import { startDockerd } from '../support/docker.js';
import { multiPlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { podmanIn } from '../support/podman.js';
import { temp } from '../support/temp.js';

const limit = { timeout: 180_000 };

interface Served {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** The lines that it printed first. */
  readonly lines: readonly string[];
  readonly hub: TestImage;
  readonly quay: TestImage;
}

/** Runs `airlift serve` with bundles that hold the same path and tag of two registries, until a line matches `last`. */
async function served(t: TestContext, last: RegExp, args: readonly string[] = []): Promise<Served> {
  const dir = temp(t);
  const [hub, quay] = [multiPlatform({ name: 'hub' }), multiPlatform({ name: 'quay' })];
  const paths = [join(dir, 'one.tar'), join(dir, 'two.tar')];
  await writeBundle(paths[0] ?? '', [{ reference: 'docker.io/acme/web:1', image: hub }]);
  await writeBundle(paths[1] ?? '', [{ reference: 'quay.example/acme/web:1', image: quay }]);
  const child = spawn(
    process.execPath,
    [airliftPath, 'serve', ...paths, '--listen', '127.0.0.1:0', ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...stateEnv },
    },
  );
  t.after(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    if (last.test(line)) break;
  }
  child.stdout.resume();
  const host = / at https?:\/\/(127\.0\.0\.1:\d+), /.exec(lines[0] ?? '')?.[1];
  assert.ok(host !== undefined, lines.join('\n'));
  return { host, lines, hub, quay };
}

/** Writes the files that `serve` printed for an engine below `dir`, and returns their paths without `dir`. */
async function writeSettings(dir: string, lines: readonly string[], engine: string): Promise<string[]> {
  const paths: string[] = [];
  for (const line of lines) {
    const [, path, text] = new RegExp(`^ +${engine} +(/etc/\\S+) +(.+)$`).exec(line) ?? [];
    if (path === undefined || text === undefined) continue;
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), `${text}\n`);
    paths.push(path);
  }
  return paths;
}

function indexText(image: TestImage): string {
  const index = image.manifests.get(image.root.digest);
  assert.ok(index !== undefined);
  return bytesOf(index).toString();
}

function childOf(image: TestImage, architecture: string): string {
  const index = JSON.parse(indexText(image)) as {
    manifests: { digest: string; platform: { architecture: string } }[];
  };
  return index.manifests.find(({ platform }) => platform.architecture === architecture)?.digest ?? '';
}

test(
  'containerd, podman and docker pull by the settings that serve prints, each registry its own image',
  { ...limit, skip: needs('containerd', 'podman', 'dockerd', 'skopeo') },
  async (t) => {
    const { host, lines, hub, quay } = await served(t, /^ +podman/);
    const dir = temp(t);
    const names = [
      ['docker.io/acme/web:1', hub],
      ['quay.example/acme/web:1', quay],
    ] as const;

    await writeSettings(dir, lines, 'containerd');
    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    for (const [name, image] of names) {
      const hosts = ['--hosts-dir', join(dir, 'etc/containerd/certs.d')];
      await containerd.ctr(['content', 'fetch', ...hosts, '--all-platforms', name]);
      assert.ok((await containerd.ctr(['images', 'ls', `name==${name}`])).stdout.includes(image.root.digest));
    }

    const [podmanFile = ''] = await writeSettings(dir, lines, 'podman, CRI-O');
    const env = { CONTAINERS_REGISTRIES_CONF: join(dir, podmanFile) };
    const podman = podmanIn(dir);
    for (const [name, image] of names) {
      const conf = ['--registries-conf', env.CONTAINERS_REGISTRIES_CONF];
      const raw = await run('skopeo', [...conf, 'inspect', '--raw', `docker://${name}`]);
      assert.ok(raw.stdout.includes(childOf(image, 'arm64')), name);
      await podman(['pull', '--quiet', '--arch', 'arm64', name], { env });
      const found = await podman(['image', 'inspect', '--format', '{{.Architecture}}', name], { env });
      assert.equal(found.stdout.trim(), 'arm64');
    }

    const [daemon = ''] = await writeSettings(dir, lines, 'docker');
    const config = JSON.parse(await readFile(join(dir, daemon), 'utf8')) as Record<string, unknown>;
    assert.deepEqual(config['registry-mirrors'], [`http://${host}`]);
    const dockerd = await startDockerd({ config: join(dir, daemon) });
    t.after(() => dockerd.stop());
    await dockerd.docker(['pull', '--quiet', `${host}/quay.example/acme/web:1`]);
    // Both registries have this path, so its short name means nothing, and the mirror does not answer with the wrong image.
    await assert.rejects(dockerd.docker(['pull', '--quiet', 'acme/web:1']));

    const [yaml = ''] = await writeSettings(dir, lines, 'k3s, RKE2');
    const { mirrors } = await readRegistriesYaml(join(dir, yaml));
    assert.ok(JSON.stringify(mirrors).includes(host));
  },
);

interface Secured extends Served {
  readonly dir: string;
  readonly authority: KeyPair;
}

/** Runs `airlift serve` with TLS and a password. */
async function secured(t: TestContext): Promise<Secured> {
  const dir = temp(t);
  const authority = await makeAuthority(dir);
  const server = await issueCertificate(dir, authority, 'server');
  const users = join(dir, 'users');
  await writeFile(users, (await run('htpasswd', ['-Bbn', '-C', '10', 'joe', 'sesame'])).stdout);
  const args = ['--tls-cert', server.cert, '--tls-key', server.key, '--htpasswd', users];
  return { ...(await served(t, /nodes need a login/, args)), dir, authority };
}

test(
  'docker, containerd, podman and skopeo log in over TLS and pull',
  { ...limit, skip: needs('containerd', 'podman', 'dockerd', 'skopeo', 'openssl', 'htpasswd') },
  async (t) => {
    const { host, hub, dir, authority } = await secured(t);
    const name = `${host}/docker.io/acme/web:1`;
    const certs = join(dir, 'certs');
    await mkdir(certs);
    await writeFile(join(certs, 'ca.crt'), await readFile(authority.cert));

    const auth = join(dir, 'auth.json');
    const trust = ['--cert-dir', certs, '--authfile', auth];
    await assert.rejects(
      run('skopeo', ['inspect', ...trust, `docker://${name}`]),
      /unauthorized|authentication required/,
    );
    await run('skopeo', ['login', ...trust, '--username', 'joe', '--password', 'sesame', host]);
    const raw = await run('skopeo', ['inspect', '--raw', ...trust, `docker://${name}`]);
    assert.ok(raw.stdout.includes(childOf(hub, 'amd64')));
    const podman = podmanIn(dir);
    await podman(['pull', '--quiet', ...trust, name]);

    const containerd = await startContainerd();
    t.after(() => containerd.stop());
    // ctr tries plain HTTP with loopback addresses, unless a file says otherwise. The file holds the password.
    const folder = join(dir, 'hosts', 'docker.io');
    await mkdir(folder, { recursive: true });
    const mirrored = ['content', 'fetch', '--hosts-dir', join(dir, 'hosts'), '--all-platforms'];
    const pullWith = async (password: string): Promise<unknown> => {
      const basic = Buffer.from(`joe:${password}`).toString('base64');
      const table = `[host."https://${host}"]\n  ca = "${authority.cert}"\n`;
      const header = `  [host."https://${host}".header]\n    authorization = "Basic ${basic}"\n`;
      await writeFile(join(folder, 'hosts.toml'), `server = "https://${host}"\n${table}${header}`);
      return await containerd.ctr([...mirrored, 'docker.io/acme/web:1']);
    };
    await assert.rejects(pullWith('wrong'), /401|authorization failed|not found/);
    await pullWith('sesame');

    const dockerd = await startDockerd({ env: { SSL_CERT_FILE: authority.cert } });
    t.after(() => dockerd.stop());
    await assert.rejects(dockerd.docker(['pull', '--quiet', name]));
    await dockerd.docker(['login', '--username', 'joe', '--password', 'sesame', host]);
    await dockerd.docker(['pull', '--quiet', name]);
  },
);

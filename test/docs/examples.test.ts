import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { airliftPath, stateEnv } from '../support/airlift.js';
import { docExamples, masked, type DocExample } from '../support/doc-examples.js';
import { startFaultProxy, type FaultProxy } from '../support/faults.js';
import { newHome } from '../support/home.js';
import { assortment, multiPlatform, singlePlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { savedMembers } from '../support/saved.js';
import { serveStore } from '../support/serve-store.js';
import { tarOf } from '../support/tar.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';

/** Names of the site's registry in the documentation; the test replaces each with an empty registry. */
const sites = ['registry.site:5000', '192.168.2.23:5000', 'site:5000'];

interface Typed {
  readonly lines: readonly string[];
}

/** Runs a line of the documentation in a shell, and returns both outputs in order. Sends SIGINT once `stop` resolves. */
async function type(
  command: string,
  dir: string,
  env: NodeJS.ProcessEnv,
  stop?: () => Promise<void>,
): Promise<Typed> {
  const child = spawn('sh', ['-c', `exec 2>&1; ${command.includes('|') ? '' : 'exec '}${command}`], {
    cwd: dir,
    env: { ...process.env, ...stateEnv, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 120_000,
    killSignal: 'SIGKILL',
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  if (stop !== undefined) {
    await Promise.race([stop(), ended]);
    child.kill('SIGINT');
  }
  await ended;
  return { lines: text.trimEnd().split('\n') };
}

describe('examples in the documentation print what the program prints', () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  const suite: Cleanup = { after: (work) => void cleanups.push(work) };
  const { env: home, dir: homeDir } = newHome(suite);
  const bin = temp(suite);
  let source: FaultProxy;

  before(async () => {
    const store = await serveStore(suite);
    const { web, pause, tools } = assortment();
    for (const named of [web, pause, tools])
      if (named !== undefined) await pushImage(store, named.repository, named.tag, named.image);
    const large = { platforms: ['linux/amd64', 'linux/arm64', 'linux/arm/v7'], bigBytes: 2_500_000 };
    for (const name of ['web', 'db'])
      await pushImage(store, `acme/${name}`, '1', multiPlatform({ name: `large ${name}`, ...large }));
    source = await startFaultProxy({ upstream: `http://${store}` });
    suite.after(() => source.stop());
    const conf = ['docker.io', 'ghcr.io', 'registry.example'].map(
      (name) => `[[registry]]\nprefix = "${name}"\nlocation = "${source.host}"\ninsecure = true\n`,
    );
    mkdirSync(join(homeDir, '.config', 'containers'));
    writeFileSync(join(homeDir, '.config', 'containers', 'registries.conf'), conf.join(''));
    writeFileSync(join(bin, 'airlift'), `#!/bin/sh\nexec '${process.execPath}' '${airliftPath}' "$@"\n`);
    // In docs/image-lists.md, lines 9 and 10 of the chart name images; the container in line 11 has none.
    const chart = [
      ...['apiVersion: apps/v1', 'kind: Deployment', 'metadata:', '  name: app', 'spec:', '  template:'],
      ...['    spec:', '      containers:', '        - { name: app, image: "ghcr.io/acme/app:2.1" }'],
      ...['        - { name: cache, image: redis }', '        - { name: proxy }', ''],
    ];
    writeFileSync(join(bin, 'helm'), `#!/bin/sh\ncat <<'END'\n${chart.join('\n')}END\n`);
    for (const name of ['airlift', 'helm']) chmodSync(join(bin, name), 0o755);
  });

  after(async () => {
    for (const work of cleanups.toReversed()) await work();
  });

  /** Runs examples in a directory and compares their output; `stop` resolves when it is time for the Ctrl-C that an example shows. */
  async function compare(
    examples: readonly DocExample[],
    dir: string,
    site: string,
    stop?: () => Promise<void>,
  ): Promise<void> {
    assert.ok(examples.length > 0, 'the documentation shows such an example');
    for (const { where, command, output } of examples) {
      let line = command;
      for (const name of sites) line = line.replaceAll(name, site);
      const isStopped = output.some((text) => text.startsWith('^C'));
      const env = { ...home, PATH: `${bin}${delimiter}${process.env['PATH']}` };
      const typed = await type(line, dir, env, isStopped ? stop : undefined);
      const shown = sites.find((name) => command.includes(name)) ?? site;
      const got = typed.lines.map((text) => text.replaceAll(site, shown));
      const want = output.map((text) => text.replace(/^\^C/, ''));
      assert.deepEqual(masked(got), masked(want), `${where}: ${command}`);
    }
  }

  const examplesWithOutput = (path: string): DocExample[] =>
    docExamples(path).filter(({ output }) => output.length > 0);

  /** Waits until a fault of the proxy stalls a transfer. */
  async function untilStalled(proxy: FaultProxy): Promise<void> {
    const isStalled = (): boolean =>
      proxy.log.requests.some(
        ({ faults, ended, sent, received }) => faults.length > 0 && !ended && sent + received >= 900_000,
      );
    await until('a transfer is stalled', isStalled);
  }

  test('README.md', async (t) => {
    const dir = temp(t);
    const names = ['docker.io/rancher/pause:3.1', 'ghcr.io/acme/web:1.0', 'ghcr.io/acme/tools:v2'];
    writeFileSync(join(dir, 'images.txt'), `${names.join('\n')}\n`);
    await compare(examplesWithOutput('README.md'), dir, await serveStore(t));
  });

  test('docs/image-lists.md', async (t) => {
    const dir = temp(t);
    const examples = examplesWithOutput('docs/image-lists.md');
    const site = await serveStore(t);
    writeFileSync(join(dir, 'k3s-images.txt'), 'rancher/mirrored-pause:3.6\n');
    await compare(examples.slice(0, 1), dir, site);
    writeFileSync(join(dir, 'k3s-images.txt'), '# k3s\n\nrancher/pause:3.1\nrancher/Pause\n');
    writeFileSync(join(dir, 'app.yaml'), 'services:\n  web:\n    image: "acme/web:${TAG}"\n');
    await compare(examples.slice(1, 2), dir, site);
    writeFileSync(join(dir, 'images.txt'), 'rancher/pause:3.1\nghcr.io/acme/tools:v2\n');
    await compare(examples.slice(2), dir, site);
  });

  test('docs/interruptions.md', async (t) => {
    const examples = examplesWithOutput('docs/interruptions.md');
    const store = await serveStore(t);
    const site = await startFaultProxy({ upstream: `http://${store}` });
    t.after(() => site.stop());
    const dir = temp(t);
    source.log.clear();
    source.use({ path: /\/acme\/web\/blobs\//, fault: { do: 'stall', after: 1_500_000 } });
    await compare(examples.slice(0, 1), dir, site.host, () => untilStalled(source));
    source.heal();
    await compare(examples.slice(1, 2), dir, site.host);
    const notFound = { do: 'answer', status: 404 } as const;
    source.use({ path: /\/acme\/db\/manifests\/1$/, fault: notFound });
    await compare(examples.slice(2, 3), temp(t), site.host);
    source.heal();
    site.use({
      path: /\/blobs\/uploads\//,
      over: 2_000_000,
      fault: { do: 'stall', in: 'request', after: 1_000_000 },
    });
    await compare(examples.slice(3), dir, site.host, () => untilStalled(site));
  });

  test('docs/formats.md', async (t) => {
    const dir = temp(t);
    const site = await serveStore(t);
    const archive = (platform: string, wrongPlatform?: string): Buffer => {
      const pause = singlePlatform(platform, {
        name: 'pause',
        ...(wrongPlatform === undefined ? {} : { image: () => ({ platform: wrongPlatform }) }),
      });
      const tools = singlePlatform(platform, { name: 'tools', roots: ['tools'] });
      return tarOf(
        savedMembers('docker-20', [
          { tags: ['rancher/pause:3.1'], image: pause },
          { tags: ['rancher/tools:v2'], image: tools },
        ]),
      );
    };
    const file = (name: string): string => join(dir, `k3s-airgap-images-${name}`);
    writeFileSync(file('amd64.tar.gz'), gzipSync(archive('linux/amd64')));
    writeFileSync(file('arm64.tar'), archive('linux/arm64'));
    writeFileSync(file('arm.tar'), archive('linux/arm/v7', 'linux/amd64'));
    for (const [arch, platform] of [
      ['amd64', 'linux/amd64'],
      ['arm64', 'linux/arm64'],
    ] as const)
      writeFileSync(
        join(dir, `app-${arch}.tar`),
        tarOf(
          savedMembers('docker-20', [
            { tags: [`team/app:1.0-${arch}`], image: singlePlatform(platform, { name: 'app' }) },
          ]),
        ),
      );
    await compare(examplesWithOutput('docs/formats.md'), dir, site);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandNames } from '../../src/cli/command-names.js';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { imageOf, layer, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

const skip =
  (!(commandNames as readonly string[]).includes('index') && 'the command is not registered yet') ||
  needs('docker', 'docker-registry', 'skopeo');

function image(platform: string): TestImage {
  const files = [{ name: 'about', content: platform }];
  return imageOf({ platform, flavour: 'docker', layers: [layer(files, { flavour: 'docker' })] });
}

interface IndexJson {
  manifests: {
    digest: string;
    platform?: { architecture: string; variant?: string };
    annotations?: object;
  }[];
  annotations?: object;
}

test('an index is created, extended, inspected and reduced', { skip }, async (t) => {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  const name = `${registry.host}/team/app`;
  const images = { amd64: image('linux/amd64'), arm: image('linux/arm/v7'), s390x: image('linux/s390x') };
  for (const [tag, one] of Object.entries(images)) await pushImage(registry.host, 'team/app', tag, one);
  const raw = async (tag: string): Promise<string> =>
    (await run('skopeo', ['inspect', '--tls-verify=false', '--raw', `docker://${name}:${tag}`])).stdout;

  const docker = (...args: string[]): Promise<unknown> =>
    run('docker', ['--config', dir, 'manifest', ...args], { env: { DOCKER_CLI_EXPERIMENTAL: 'enabled' } });
  const dir = temp(t);
  await docker('create', '--insecure', `${name}:docker`, `${name}:amd64`, `${name}:arm`);
  await docker('annotate', '--variant', 'v6', `${name}:docker`, `${name}:arm`);
  await docker('push', '--insecure', `${name}:docker`);
  const created = await airlift([
    ...['index', 'create', `${name}:1.0`, `${name}:amd64`, `${name}:arm`],
    ...['--platform', `${name}:arm=linux/arm/v6`],
  ]);
  assert.match(created.stdout, /^created .*\/team\/app:1\.0: sha256:[0-9a-f]{64}, 2 children\n$/);
  assert.equal(await raw('1.0'), await raw('docker'));

  await airlift([
    ...['index', 'append', `${name}:1.0`, `${name}:s390x`, '--annotation', 'org.example.note=a b'],
    ...['--annotation-for', `${name}:s390x:org.example.k=v=w`],
  ]);
  const appended = JSON.parse(await raw('1.0')) as IndexJson;
  assert.deepEqual(appended.annotations, { 'org.example.note': 'a b' });
  assert.deepEqual(appended.manifests[2]?.annotations, { 'org.example.k': 'v=w' });

  const removed = await airlift(['index', 'remove', `${name}:1.0`, 'linux/arm/v6', '--json']);
  assert.equal((JSON.parse(removed.stdout) as { children: number }).children, 2);

  const merged = await airlift(['index', 'merge', `${name}:2.0`, `${name}:1.0`, `${name}:docker`]);
  assert.match(merged.stdout, /^merged into .*, 3 children/);

  const shown = await airlift(['index', 'inspect', `${name}:2.0`]);
  assert.match(shown.stdout, /PLATFORM[^]*linux\/amd64 +sha256:[^]*linux\/arm\/v6 [^]*linux\/s390x /);
  assert.match(shown.stdout, /annotations of linux\/s390x\n {2}org\.example\.k=v=w/);
  assert.equal((await airlift(['index', 'inspect', '--raw', `${name}:2.0`])).stdout, await raw('2.0'));
});

test('wrong command lines end with exit code 2 and an explanation', { skip }, async () => {
  for (const [args, message] of [
    [['index'], /want a command: create, append, remove, merge or inspect/],
    [['index', 'create', 'site.test/app:1'], /not enough arguments|missing/i],
    [['index', 'create', 'site.test/app:1', 'a', '--platform', 'linux/arm64'], /want REF=PLATFORM/],
    [['index', 'create', 'site.test/app:1', 'a', '--annotation', 'x'], /want KEY=VALUE/],
  ] as const) {
    const { stderr } = await airlift(args, { codes: [2] });
    assert.match(stderr, message);
  }
});

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandNames } from '../../src/cli/command-names.js';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

const skip =
  (!(commandNames as readonly string[]).includes('save') && 'the command is not registered yet') ||
  needs('docker-registry', 'skopeo', 'tar');

test('a bundle is saved for docker, for k3s nodes and as an OCI layout', { skip }, async (t) => {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  const dir = temp(t);
  const name = `${registry.host}/acme/app:1`;
  await pushImage(registry.host, 'acme/app', '1', multiPlatform({ name: 'app' }));
  const bundle = join(dir, 'site.tar');
  await airlift(['export', name, '-o', bundle]);

  const archive = join(dir, 'app.tar');
  const docker = ['--format', 'docker-archive', '--platform', 'linux/arm64', '--tag', 'team/app:newest'];
  const saved = await airlift(['save', bundle, ...docker, '-o', archive]);
  assert.match(saved.stdout, /^saved 1 image for linux\/arm64 to .*app\.tar: \d/);
  const { stdout } = await run('skopeo', ['inspect', `docker-archive:${archive}`]);
  assert.equal((JSON.parse(stdout) as { Architecture: string }).Architecture, 'arm64');
  const { stdout: manifest } = await run('tar', ['-xOf', archive, 'manifest.json']);
  assert.match(manifest, /"RepoTags":\["docker\.io\/team\/app:newest"\]/);

  const piped = await airlift(['save', name, ...docker, '-o', '-']);
  const again = await run('tar', ['-xOf', archive]);
  assert.ok((await run('tar', ['-xO'], { input: piped.bytes })).bytes.equals(again.bytes));
  assert.match(piped.stderr, /saved 1 image/);

  const nodes = await airlift(['save', bundle, '--format', 'k3s', '--json', '-o', `${join(dir, 'nodes')}/`]);
  const lines = nodes.stdout.trimEnd().split('\n');
  const { files } = JSON.parse(lines.at(-1) ?? '') as { files: { path: string; platform: string }[] };
  assert.deepEqual(
    files.map(({ platform }) => platform),
    ['linux/amd64', 'linux/arm/v7', 'linux/arm64'],
  );
  assert.deepEqual(readdirSync(join(dir, 'nodes')), [
    'site-images-amd64.tar.zst',
    'site-images-arm.tar.zst',
    'site-images-arm64.tar.zst',
  ]);

  const layout = join(dir, 'layout');
  await airlift(['save', archive, '--format', 'oci-layout', '-o', layout]);
  assert.ok(existsSync(join(layout, 'oci-layout')));
});

test('wrong command lines end with exit code 2 and an explanation', { skip }, async (t) => {
  const dir = temp(t);
  const output = ['-o', join(dir, 'x')];
  for (const [args, code, message] of [
    [['save', 'a', ...output], 2, /save: --format missing/],
    [['save', 'a', '--format', 'zip', ...output], 2, /--format: got "zip", want one of docker-archive/],
    [['save', 'none.tar', '--format', 'k3s', ...output], 1, /none\.tar/],
    [
      ['save', dir, 'a', '--format', 'k3s', ...output],
      2,
      /got file .* and image a, want either files or images in registries/,
    ],
    [
      ['save', 'a', '--format', 'oci-archive', '--json', '-o', '-'],
      2,
      /--json and an archive cannot both use standard output/,
    ],
  ] as const) {
    const { stderr } = await airlift(args, { codes: [code] });
    assert.match(stderr, message);
  }
  assert.deepEqual(readdirSync(dir), []);
});

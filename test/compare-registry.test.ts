import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Comparison } from '../src/compare-registry.js';
import { writeBundle, type Cargo } from './bundle/write-bundle.js';
import { airlift } from './support/airlift.js';
import { sbomOf } from './support/artifacts.js';
import { bytesOf } from './support/content.js';
import { multiPlatform, singlePlatform } from './support/image-sets.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { serveStore } from './support/serve-store.js';
import { temp } from './support/temp.js';

const app = multiPlatform({ name: 'app' });
const tool = singlePlatform('linux/amd64', { name: 'tool' });
const sbom = sbomOf(tool);
const cargo: Cargo[] = [
  { reference: 'registry.example/acme/app:1', image: app },
  { reference: 'registry.example/acme/tool:1', image: tool },
  { reference: undefined, image: sbom },
];

test('verify --against finds every tag, manifest, blob and referrer that the registry lacks', async (t) => {
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, cargo);
  const host = await serveStore(t);
  const compare = async (code: number, ...more: string[]): Promise<string> =>
    (await airlift(['verify', bundle, '--against', host, ...more], { codes: [code] })).stdout;
  assert.match(await compare(4), /^differs: .*\/acme\/app:1: tag sha256:[0-9a-f]{64}: missing$/m);

  await airlift(['import', bundle, '--to', host]);
  assert.match(await compare(0), /holds all of .*: 2 names, \d+ manifests, \d+ blobs in/);
  const whole = JSON.parse(await compare(0, '--json')) as Comparison;
  assert.deepEqual([whole.ok, whole.total, whole.differences], [true, 0, []]);
  // Below another name there is nothing.
  assert.match(await compare(4, '--keep-registry'), /registry\.example\/acme\/app:1: tag .*: missing/);

  const remove = async (path: string): Promise<void> => {
    const { status } = await askRegistry(host, { method: 'DELETE', path });
    assert.equal(status, 202, path);
  };
  const differences = async (): Promise<string[]> =>
    (JSON.parse(await compare(4, '--json')) as Comparison).differences.map(
      ({ kind, image, digest }) => `${kind} ${image.replace(host, 'HOST')} ${digest}`,
    );
  await remove(`/v2/acme/tool/manifests/${sbom.root.digest}`);
  assert.deepEqual(await differences(), [`referrer HOST/acme/tool:1 ${sbom.root.digest}`]);
  await airlift(['import', bundle, '--to', host]);
  await compare(0);

  const { layers } = JSON.parse(
    bytesOf(tool.manifests.get(tool.root.digest) ?? assert.fail()).toString(),
  ) as {
    layers: { digest: string }[];
  };
  const lost = layers[0]?.digest ?? assert.fail();
  await remove(`/v2/acme/tool/blobs/${lost}`);
  const found = await differences();
  assert.ok(found.includes(`blob HOST/acme/tool:1 ${lost}`), found.join('\n'));
  await airlift(['import', bundle, '--to', host]);

  await pushImage(host, 'acme/app', '1', tool);
  assert.deepEqual(await differences(), [`tag HOST/acme/app:1 ${app.root.digest}`]);
});

test('verify --against checks the bundle and its signature first', async (t) => {
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, cargo);
  const key = join(temp(t), 'a.key');
  await airlift(['keygen', '-o', key, '-W']);
  const host = await serveStore(t);
  const args = ['verify', bundle, '--against', host, '--key', key.replace('.key', '.pub')];
  assert.match((await airlift(args, { codes: [4] })).stderr, /not signed; want/);
  for (const flag of [['--keep-registry'], ['--rename', 'a/*=b/*']] as const)
    assert.match(
      (await airlift(['verify', bundle, ...flag], { codes: [2] })).stderr,
      /applies only with --against/,
    );
  for (const flag of ['--quick', '--request=r.txt', '--cosign-key=a.pub'])
    assert.match(
      (await airlift(['verify', bundle, '--against', host, flag], { codes: [2] })).stderr,
      /cannot be combined with --against/,
    );
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { cosignOf, sbomOf } from '../support/artifacts.js';
import { filesBeside, env, slow, startExportSetup, type ExportSetup } from '../support/exporting.js';
import { failing, type Rule } from '../support/faults.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { temp, type Cleanup } from '../support/temp.js';

const images: Readonly<Record<string, TestImage>> = {
  one: multiPlatform({ name: 'one', bigBytes: 1_500_000 }),
  two: multiPlatform({ name: 'two', bigBytes: 1_500_000 }),
  three: singlePlatform('linux/amd64', { name: 'three', bigBytes: 2_000_000 }),
};
const quick = ['--retries', '1', '--retry-delay', '10ms'];

interface Summary {
  readonly images: number;
  readonly failed: readonly { readonly image: string; readonly error: { readonly code: string } }[];
}

function summaryOf(stdout: string): Summary {
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Summary;
}

async function ready(t: Cleanup): Promise<ExportSetup & { output: string }> {
  const setup = await startExportSetup(t);
  for (const [name, image] of Object.entries(images)) await setup.push(name, image);
  return { ...setup, output: join(temp(t), 'site.tar') };
}

const unavailable = (name: string): Rule => ({
  fault: failing(503),
  path: new RegExp(`acme/${name}/manifests`),
});

test('a resumed run resolves the images again that failed while planning', async (t) => {
  const { proxy, output, names, undisturbed, killAfter } = await ready(t);
  const args = [...names('one', 'two', 'three'), ...quick];
  const want = await undisturbed(...args);
  proxy.use(slow, unavailable('two'));
  await killAfter(2_000_000, ...args, '-o', output, '--keep-going');
  proxy.heal();
  proxy.log.clear();
  const { stdout } = await airlift(['export', ...args, '-o', output, '--keep-going', '--json'], { env });
  assert.deepEqual(summaryOf(stdout).failed, []);
  assert.ok(readFileSync(output).equals(want), 'same bytes as without a failure');
  assert.equal(
    proxy.log.find('GET', /acme\/(one|three)\/manifests/).length,
    0,
    'the other images are not resolved again',
  );
});

test('images that still fail are reported again and are not in the bundle', async (t) => {
  const { proxy, output, names, undisturbed, killAfter } = await ready(t);
  const args = [...names('one', 'two', 'three'), ...quick, '-o', output, '--keep-going', '--json'];
  const want = await undisturbed(...names('one', 'three'));
  // Its index and some of its platforms are planned before the failure.
  const [child] = [...(images['two']?.manifests.keys() ?? [])].filter(
    (at) => at !== images['two']?.root.digest,
  );
  const half: Rule = { fault: failing(404), path: new RegExp(`manifests/${child}`) };
  proxy.use(slow, half);
  await killAfter(1_000_000, ...args);
  proxy.heal();
  proxy.use(half);
  const { stdout } = await airlift(['export', ...args], { env, codes: [3] });
  const { images: count, failed } = summaryOf(stdout);
  assert.equal(count, 2);
  assert.deepEqual(
    failed.map(({ image, error }) => [image, error.code]),
    [[`${proxy.host}/acme/two:1`, 'not-found']],
  );
  assert.deepEqual(filesBeside(output), []);
  assert.ok(readFileSync(output).equals(want), 'as an export of the good images alone');
  await airlift(['verify', output]);
});

test('without --keep-going a resumed run fails if an image still fails, and keeps what is written', async (t) => {
  const { proxy, output, names, undisturbed, killAfter } = await ready(t);
  const args = [...names('one', 'two', 'three'), ...quick, '-o', output];
  const want = await undisturbed(...names('one', 'two', 'three'));
  proxy.use(slow, unavailable('two'));
  await killAfter(2_000_000, ...args, '--keep-going');
  const { stderr } = await airlift(['export', ...args], { env, codes: [1] });
  assert.match(stderr, /acme\/two:1: .*503/);
  proxy.heal();
  proxy.log.clear();
  await airlift(['export', ...args], { env });
  assert.ok(readFileSync(output).equals(want));
  assert.ok(proxy.log.sentAgain() === 0);
});

test('an image that loses a blob is removed with its signature and its referrers', async (t) => {
  const { proxy, output, names, push, undisturbed } = await ready(t);
  const two = images['two'] as TestImage;
  const signature = cosignOf(two, 'sig');
  await push('two', signature.image, signature.tag);
  await push('two', sbomOf(two), 'sbom');
  const want = await undisturbed(...names('one', 'three'));
  const layer = [...two.blobs.values()].find(({ size }) => size > 1_000_000);
  proxy.use({ fault: failing(404), path: new RegExp(`blobs/${layer?.digest}`) });
  const args = [...names('one', 'two', 'three'), '-o', output, '-k', '--json'];
  const { stdout } = await airlift(['export', ...args], { env, codes: [3] });
  assert.deepEqual(
    summaryOf(stdout).failed.map(({ image }) => image),
    [`${proxy.host}/acme/two:1`],
  );
  assert.ok(readFileSync(output).equals(want));
  await airlift(['verify', output]);
});

test('an unreachable registry ends the run even with --keep-going, and no image is dropped', async (t) => {
  const { proxy, output, names, start, passed, undisturbed } = await ready(t);
  const args = [...names('one', 'two', 'three'), ...quick, '-o', output, '--keep-going'];
  const want = await undisturbed(...names('one', 'two', 'three'));
  proxy.log.clear();
  proxy.use(slow);
  const run = start(...args);
  await passed(run, 2_000_000);
  proxy.down();
  const { code, stderr } = await run.ended;
  assert.equal(code, 1);
  assert.match(stderr, /hint: run the same command again to resume/);
  proxy.up();
  proxy.heal();
  await airlift(['export', ...args], { env });
  assert.ok(readFileSync(output).equals(want));
});

test('--keep-going --force never replaces a bundle by one with only signatures', async (t) => {
  const { proxy, output, names, push } = await ready(t);
  const listed = ['one', 'two'];
  for (const name of listed) {
    const signature = cosignOf(images[name] as TestImage, 'sig');
    await push(name, signature.image, signature.tag);
  }
  const args = [...names(...listed), '-o', output, '--keep-going', '--force', ...quick];
  await airlift(['export', ...args], { env });
  const before = readFileSync(output);
  const layers = listed.map((name) =>
    [...(images[name] as TestImage).blobs.values()].find(({ size }) => size > 1_000_000),
  );
  proxy.use(
    ...layers.map((layer): Rule => ({ fault: failing(404), path: new RegExp(`blobs/${layer?.digest}`) })),
  );
  const { stderr } = await airlift(['export', ...args], { env, codes: [1] });
  assert.match(stderr, /nothing left to export: every image has a blob that failed to download/);
  assert.ok(readFileSync(output).equals(before), 'the existing bundle is unchanged');
  await airlift(['verify', output]);
});

test('a signature that the list names by its tag counts as an image', async (t) => {
  const { proxy, output, names, push } = await ready(t);
  const signature = cosignOf(images['one'] as TestImage, 'sig');
  await push('one', signature.image, signature.tag);
  const name = `${proxy.host}/acme/one:${signature.tag}`;
  await airlift(['export', name, '-o', output], { env });
  const alone = await airlift(['inspect', output, '--json']);
  assert.deepEqual(
    (JSON.parse(alone.stdout) as { images: { reference: string }[] }).images.map(
      ({ reference }) => reference,
    ),
    [name],
  );
  // The signature stays although the image that it signs fails.
  const layer = [...(images['one'] as TestImage).blobs.values()].find(({ size }) => size > 1_000_000);
  proxy.use({ fault: failing(404), path: new RegExp(`blobs/${layer?.digest}`) });
  await airlift(['export', ...names('one'), name, '-o', output, '-f', '-k', ...quick], { env, codes: [3] });
  await airlift(['verify', output]);
});

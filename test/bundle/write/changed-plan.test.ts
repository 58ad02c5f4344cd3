import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../../../src/bundle/format/sqlite.js';
import type { LostBlob } from '../../../src/bundle/journal/failures.js';
import { Journal } from '../../../src/bundle/journal/journal.js';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { verify } from '../../../src/verify.js';
import { cosignOf, sbomOf } from '../../support/artifacts.js';
import { bytesOf } from '../../support/content.js';
import { singlePlatform } from '../../support/image-sets.js';
import { imageOf, indexOf, plainBlob, types } from '../../support/images.js';
import { temp } from '../../support/temp.js';
import { fill, options, plan, freshBundle, type Cargo } from '../write-bundle.js';

const repository = { registry: 'registry.example', repository: 'acme/lost' };
const good: readonly Cargo[] = ['a', 'b'].map((name) => ({
  reference: `registry.example/acme/${name}:1`,
  image: singlePlatform('linux/amd64', { name, bigBytes: 300_000 }),
}));
const losing = singlePlatform('linux/arm64', { name: 'lost', bigBytes: 400_000 });
const signature = cosignOf(losing, 'sig');
const all: readonly Cargo[] = [
  ...good,
  { reference: 'registry.example/acme/lost:1', image: losing },
  { reference: undefined, image: sbomOf(losing) },
  {
    reference: `registry.example/acme/lost:${signature.tag}`,
    image: signature.image,
    companionOf: losing.root.digest,
  },
];

function lostBlob(): LostBlob {
  const layer = [...losing.blobs.values()].find(({ size }) => size > 300_000);
  assert.ok(layer !== undefined);
  const { digest, size } = layer;
  return {
    repository,
    descriptor: { digest, size, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
    error: { code: 'not-found', message: 'no such blob' },
  };
}

/** Leaves the files of a run that stopped before its last blobs. */
async function interruptRun(path: string): Promise<void> {
  const writer = await BundleWriter.open(path, options);
  plan(writer, all);
  await writer.layOut();
  await fill(writer, all, { limit: 2 });
  await writer.close();
}

async function resume(path: string, cargo: readonly Cargo[]): Promise<void> {
  const writer = await BundleWriter.open(path, options);
  assert.equal(writer.state, 'laid-out');
  await writer.layOut();
  await fill(writer, cargo);
  await writer.finish();
}

test('a dropped image is removed with its signature and its referrers', async (t) => {
  const path = join(temp(t), 'a.tar');
  await interruptRun(path);
  const writer = await BundleWriter.open(path, options);
  assert.deepEqual(writer.dropImages([lostBlob()]), ['registry.example/acme/lost:1']);
  await writer.layOut();
  await fill(writer, good);
  await writer.finish();
  assert.ok(readFileSync(path).equals(await freshBundle(t, good)));
});

test('a change that is not committed leaves the plan unchanged', async (t) => {
  const path = join(temp(t), 'a.tar');
  await interruptRun(path);
  const writer = await BundleWriter.open(path, options);
  assert.equal(writer.dropImages([lostBlob()])?.length, 1);
  await writer.close();
  await resume(path, all);
  assert.ok(readFileSync(path).equals(await freshBundle(t, all)));
});

test('no image is dropped if none would be left', async (t) => {
  const path = join(temp(t), 'a.tar');
  const writer = await BundleWriter.open(path, options);
  const only = all.slice(2, 3);
  plan(writer, only);
  await writer.layOut();
  assert.equal(writer.dropImages([lostBlob()]), undefined);
  assert.deepEqual(writer.failures(), []);
  assert.equal(writer.state, 'laid-out');
  await fill(writer, only);
  await writer.finish();
  assert.ok(readFileSync(path).equals(await freshBundle(t, only)));
});

/** Leaves the files of a run that was killed between a change of the plan and its new layout. */
async function leaveChanged(path: string): Promise<void> {
  await interruptRun(path);
  const journal = Journal.open(`${path}.partial.journal`);
  journal.beginChange();
  journal.failures.dropImagesWith(lostBlob());
  journal.commitChange();
  journal.close();
}

test('the next run lays out a changed plan', async (t) => {
  const path = join(temp(t), 'a.tar');
  await leaveChanged(path);
  const writer = await BundleWriter.open(path, options);
  assert.deepEqual(
    writer.failures().map(({ image, lost }) => [image, lost?.descriptor.digest]),
    [['registry.example/acme/lost:1', lostBlob().descriptor.digest]],
  );
  await writer.close();
  await resume(path, good);
  assert.ok(readFileSync(path).equals(await freshBundle(t, good)));
});

test('a damaged changed plan is planned again', async (t) => {
  const path = join(temp(t), 'a.tar');
  await leaveChanged(path);
  const database = openDatabase(`${path}.partial.journal`);
  database.exec(
    "UPDATE images SET reference = replace(reference, 'acme/a', 'acme/A') WHERE reference LIKE '%/a:1'",
  );
  database.close();
  const writer = await BundleWriter.open(path, options);
  assert.equal(writer.state, 'planning');
  plan(writer, good);
  await writer.layOut();
  await fill(writer, good);
  await writer.finish();
  assert.ok(readFileSync(path).equals(await freshBundle(t, good)));
});

test('a laid-out bundle is extended by more images, or the extension is reverted', async (t) => {
  const path = join(temp(t), 'a.tar');
  const first = await BundleWriter.open(path, options);
  plan(first, good);
  await first.layOut();
  await fill(first, good, { limit: 1 });
  first.extend();
  plan(first, all.slice(2));
  first.revertExtension();
  assert.equal(first.state, 'laid-out');
  await first.close();
  const second = await BundleWriter.open(path, options);
  assert.equal(second.summary?.images, 2);
  second.extend();
  plan(second, all.slice(2));
  await second.layOut();
  await fill(second, all);
  await second.finish();
  assert.ok(readFileSync(path).equals(await freshBundle(t, all)));
});

test('a run that was killed after the final rename is recognized as finished', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'a.tar');
  await interruptRun(path);
  const writer = await BundleWriter.open(path, options);
  await writer.layOut();
  await fill(writer, all);
  await writer.close();
  copyFileSync(`${path}.partial.journal`, join(dir, 'kept'));
  await resume(path, all);
  const whole = readFileSync(path);

  copyFileSync(join(dir, 'kept'), `${path}.partial.journal`);
  await resume(path, all);
  assert.ok(readFileSync(path).equals(whole));
  assert.deepEqual(readdirSync(dir).sort(), ['a.tar', 'kept']);

  // A file that is not the bundle of this plan must stay untouched.
  copyFileSync(join(dir, 'kept'), `${path}.partial.journal`);
  const other = Buffer.from(whole).fill(7, 600, 700);
  writeFileSync(path, other);
  await assert.rejects(BundleWriter.open(path, options), (error) => isAirliftError(error, 'exists'));
  assert.ok(readFileSync(path).equals(other));
  assert.ok(!existsSync(`${path}.partial`));
});

test('properties that only a dropped image gave a shared manifest or blob are removed', async (t) => {
  const path = join(temp(t), 'a.tar');
  // Two indexes share a child, and state different platforms for it.
  const child = imageOf({ platform: 'linux/arm64', layers: [plainBlob('shared\n', types.oci.gzip)] });
  const other = imageOf({ platform: 'linux/amd64', layers: [plainBlob('lost\n', types.oci.gzip)] });
  const kept = indexOf({ children: [{ image: child, platform: 'linux/arm64/v9' }] });
  const dropped = indexOf({ children: [{ image: child, platform: 'linux/arm64/v8' }, other] });
  // The config of the dropped image is a layer of the kept one.
  const [lost, config] = ['lost', 'created'].map((text) =>
    [...other.blobs.values()].find((content) => bytesOf(content).includes(text)),
  );
  assert.ok(lost !== undefined && config !== undefined);
  const holds = imageOf({
    platform: 'linux/amd64',
    layers: [
      {
        descriptor: { mediaType: types.oci.none, digest: config.digest, size: config.size },
        content: config,
        diffId: config.digest,
      },
    ],
  });
  const keptCargo: readonly Cargo[] = [
    { reference: 'registry.example/acme/kept:1', image: kept },
    { reference: 'registry.example/acme/holds:1', image: holds },
  ];
  const cargo = [{ reference: 'registry.example/acme/dropped:1', image: dropped }, ...keptCargo];
  const writer = await BundleWriter.open(path, options);
  plan(writer, cargo);
  await writer.layOut();
  const descriptor = { digest: lost.digest, size: lost.size, mediaType: types.oci.gzip };
  assert.deepEqual(writer.dropImages([{ ...lostBlob(), descriptor }]), ['registry.example/acme/dropped:1']);
  await writer.layOut();
  await fill(writer, cargo);
  await writer.finish();
  assert.deepEqual((await verify(path, { jobs: 1 })).problems, []);
  assert.ok(readFileSync(path).equals(await freshBundle(t, keptCargo)), 'as if it had never been planned');
});

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Digest } from '../../src/oci/digest.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { verify } from '../../src/verify.js';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { attachedSignature, newCosignKeys, payloadOf, taggedSignature } from '../support/cosign.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { temp } from '../support/temp.js';

const app = multiPlatform({ name: 'app' });
const tool = singlePlatform('linux/amd64', { name: 'tool' });
const named = (name: string, image: TestImage): Cargo => ({
  reference: `registry.example/acme/${name}:1`,
  image,
});
const underTag = (image: TestImage, companionOf: Digest): Cargo => ({
  reference: `registry.example/acme/app:${companionOf.replace(':', '-')}.sig`,
  image,
  companionOf,
});
const referrer = (image: TestImage): Cargo => ({ reference: undefined, image });

test('verify --cosign-key accepts signatures of cosign under a tag and as a referrer', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [
    named('app', app),
    underTag(taggedSignature(keys, payloadOf(app.root.digest)), app.root.digest),
    named('tool', tool),
    referrer(attachedSignature(keys, tool, tool.root.digest)),
  ]);
  const { stdout } = await airlift(['verify', bundle, '--cosign-key', keys.publicPath]);
  assert.match(stdout, /acme\/app:1: signed by key sha256:[0-9a-f]{64} \(a tag of cosign\)$/m);
  assert.match(stdout, /acme\/tool:1: signed by key sha256:[0-9a-f]{64} \(a referrer\)$/m);
  const quick = await verify(bundle, { jobs: 1, quick: true, cosignKeys: [keys.publicPath] });
  assert.deepEqual(
    quick.imageSignatures?.map(({ digest, signed }) => digest === signed),
    [true, true],
  );
});

test('verify --cosign-key accepts a signature of the index that a filtered one was cut from, and says so', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = join(temp(t), 'site.tar');
  const full = multiPlatform({ name: 'cut' });
  const part = multiPlatform({ name: 'cut', platforms: ['linux/amd64'] });
  await writeBundle(bundle, [
    { ...named('app', part), original: full },
    underTag(taggedSignature(keys, payloadOf(full.root.digest)), full.root.digest),
  ]);
  const { stdout } = await airlift(['verify', bundle, '--cosign-key', keys.publicPath]);
  assert.ok(stdout.includes(`; signed is ${full.root.digest}, from which airlift cut its index`), stdout);
});

test('verify --cosign-key names each image without a valid signature over exactly its digest', async (t) => {
  const [keys, stranger] = [newCosignKeys(t), newCosignKeys(t)];
  const { digest } = app.root;
  const cases: [string, Cargo[], RegExp][] = [
    ['no signature', [], /no signature of cosign travels with it/],
    [
      "another's key",
      [underTag(taggedSignature(stranger, payloadOf(digest)), digest)],
      /none of its 1 signatures/,
    ],
    [
      'another digest',
      [underTag(taggedSignature(keys, payloadOf(tool.root.digest)), digest)],
      /none of its 1 signatures/,
    ],
    [
      'another type',
      [underTag(taggedSignature(keys, payloadOf(digest, 'something else')), digest)],
      /none of its 1/,
    ],
    [
      "another's key in a referrer",
      [referrer(attachedSignature(stranger, app, digest))],
      /none of its 1 signatures/,
    ],
    [
      'another digest in a referrer',
      [referrer(attachedSignature(keys, app, tool.root.digest))],
      /none of its 1 signatures/,
    ],
    [
      'an attestation',
      [referrer(attachedSignature(keys, app, digest, 'https://spdx.dev/Document'))],
      /none of its 1 signatures/,
    ],
  ];
  for (const [name, more, reason] of cases) {
    const bundle = join(temp(t), 'site.tar');
    await writeBundle(bundle, [named('app', app), ...more]);
    const { stdout } = await airlift(['verify', bundle, '--cosign-key', keys.publicPath], { codes: [4] });
    assert.match(stdout, new RegExp(`refused: registry.example/acme/app:1: ${reason.source}`), name);
  }
});

test('verify --quick finds damage everywhere but inside layers', async (t) => {
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [named('app', app), named('tool', tool)]);
  const bytes = readFileSync(bundle);
  const reader = await BundleReader.open(bundle);
  const blobs = [...reader.blobs()].map(({ digest, kind }) => ({ kind, at: reader.position(digest) ?? 0 }));
  await reader.close();
  const flipped = (at: number): void => {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(bundle, changed);
  };
  for (const kind of ['index', 'manifest', 'config', 'layer'] as const) {
    flipped(blobs.find((blob) => blob.kind === kind)?.at ?? assert.fail(kind));
    const { stdout } = await airlift(['verify', bundle, '--quick'], { codes: [kind === 'layer' ? 0 : 4] });
    if (kind === 'layer') assert.match(stdout, /layers not hashed$/m);
    else assert.match(stdout, /^damaged: blobs\/sha256\//m);
    await airlift(['verify', bundle], { codes: [4] });
  }
  writeFileSync(bundle, bytes.subarray(0, -2048));
  assert.match((await airlift(['verify', bundle, '--quick'], { codes: [4] })).stdout, /truncated/);
});

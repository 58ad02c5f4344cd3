import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Digest } from '../../src/oci/digest.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { preAuthEncoding, simpleSigning } from '../../src/signing/cosign.js';
import { verify } from '../../src/verify.js';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { artifactOf } from '../support/artifacts.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { imageOf, plainBlob, type TestImage } from '../support/images.js';
import { temp, type Cleanup } from '../support/temp.js';

interface Keys {
  readonly privateKey: KeyObject;
  readonly publicPath: string;
}

function newKeys(t: Cleanup): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicPath = join(temp(t), 'publisher.pub');
  writeFileSync(publicPath, publicKey.export({ type: 'spki', format: 'pem' }));
  return { privateKey, publicPath };
}

function payloadOf(digest: string, type = 'cosign container image signature'): string {
  const identity = { 'docker-reference': 'registry.example/acme/app' };
  return JSON.stringify({
    critical: { identity, image: { 'docker-manifest-digest': digest }, type },
    optional: null,
  });
}

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');

/** Returns the image that cosign stores under its tag. */
function tagged({ privateKey }: Keys, payload: string): TestImage {
  const signature = base64(sign('sha256', Buffer.from(payload), privateKey));
  const annotations = { 'dev.cosignproject.cosign/signature': signature };
  return imageOf({
    platform: { architecture: '', os: '' },
    layers: [plainBlob(payload, simpleSigning, annotations)],
  });
}

/** Returns the referrer that cosign 3 attaches. */
function attached(
  { privateKey }: Keys,
  subject: TestImage,
  digest: string,
  predicateType = 'https://sigstore.dev/cosign/sign/v1',
): TestImage {
  const statement = JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: digest.slice(7) }, annotations: {} }],
    predicateType,
    predicate: {},
  });
  const payloadType = 'application/vnd.in-toto+json';
  const sig = base64(sign('sha256', preAuthEncoding(payloadType, Buffer.from(statement)), privateKey));
  const type = 'application/vnd.dev.sigstore.bundle.v0.3+json';
  const dsseEnvelope = { payload: base64(statement), payloadType, signatures: [{ sig }] };
  const text = JSON.stringify({
    mediaType: type,
    verificationMaterial: { publicKey: { hint: 'x' } },
    dsseEnvelope,
  });
  return artifactOf({ artifactType: type, blobs: [plainBlob(text, type)], subject: subject.root });
}

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
  const keys = newKeys(t);
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [
    named('app', app),
    underTag(tagged(keys, payloadOf(app.root.digest)), app.root.digest),
    named('tool', tool),
    referrer(attached(keys, tool, tool.root.digest)),
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
  const keys = newKeys(t);
  const bundle = join(temp(t), 'site.tar');
  const full = multiPlatform({ name: 'cut' });
  const part = multiPlatform({ name: 'cut', platforms: ['linux/amd64'] });
  await writeBundle(bundle, [
    { ...named('app', part), original: full },
    underTag(tagged(keys, payloadOf(full.root.digest)), full.root.digest),
  ]);
  const { stdout } = await airlift(['verify', bundle, '--cosign-key', keys.publicPath]);
  assert.ok(stdout.includes(`; signed is ${full.root.digest}, from which airlift cut its index`), stdout);
});

test('verify --cosign-key names each image without a valid signature over exactly its digest', async (t) => {
  const [keys, stranger] = [newKeys(t), newKeys(t)];
  const { digest } = app.root;
  const cases: [string, Cargo[], RegExp][] = [
    ['no signature', [], /no signature of cosign travels with it/],
    ["another's key", [underTag(tagged(stranger, payloadOf(digest)), digest)], /none of its 1 signatures/],
    [
      'another digest',
      [underTag(tagged(keys, payloadOf(tool.root.digest)), digest)],
      /none of its 1 signatures/,
    ],
    ['another type', [underTag(tagged(keys, payloadOf(digest, 'something else')), digest)], /none of its 1/],
    ["another's key in a referrer", [referrer(attached(stranger, app, digest))], /none of its 1 signatures/],
    [
      'another digest in a referrer',
      [referrer(attached(keys, app, tool.root.digest))],
      /none of its 1 signatures/,
    ],
    [
      'an attestation',
      [referrer(attached(keys, app, digest, 'https://spdx.dev/Document'))],
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

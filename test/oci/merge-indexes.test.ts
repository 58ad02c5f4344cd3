import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { childOf, type ExistingIndex, type IndexChild } from '../../src/oci/index-child.js';
import { mergeIndexes } from '../../src/oci/merge-indexes.js';
import { attestationOf } from '../support/artifacts.js';
import { bytesOf } from '../support/content.js';
import { imageOf, indexOf, layer, platformJson, type Child, type TestImage } from '../support/images.js';

function image(platform: string, salt = ''): TestImage {
  const files = [{ name: 'about', content: platform + salt }];
  return imageOf({ platform, layers: [layer(files, { compression: 'none' })] });
}

function alone(platform: string, from = `${platform}.tar`, salt = ''): IndexChild {
  return childOf(image(platform, salt).root, from, { ...platformJson(platform) });
}

function indexed(
  children: readonly (TestImage | Child)[],
  from: string,
  more: { annotations?: Record<string, string>; artifactType?: string } = {},
): ExistingIndex {
  const { root, manifests } = indexOf({ children, ...more });
  const own = manifests.get(root.digest);
  assert.ok(own !== undefined);
  return { descriptor: root, bytes: bytesOf(own), from };
}

interface IndexJson {
  mediaType: string;
  manifests: { digest: Digest; annotations?: Record<string, string> }[];
  annotations?: Record<string, string>;
}

function parsed(bytes: Buffer): IndexJson {
  return JSON.parse(bytes.toString()) as IndexJson;
}

function fails(work: () => unknown, code: ErrorCode, message: RegExp): void {
  assert.throws(work, (error) => isAirliftError(error, code) && message.test(error.message));
}

const [amd64, arm64, arm] = [image('linux/amd64'), image('linux/arm64'), image('linux/arm/v7')];

test('an index that holds everything already is the result, byte for byte', () => {
  const whole = indexed([amd64, arm64, arm, attestationOf(arm)], 'whole');
  const part = indexed([arm64], 'part', { annotations: { note: 'filtered' } });
  for (const indexes of [
    [whole, whole],
    [part, whole],
    [whole, part],
  ]) {
    const merged = mergeIndexes({ indexes, images: [alone('linux/arm/v7')] });
    assert.equal(merged.descriptor.digest, whole.descriptor.digest);
    assert.ok(merged.bytes.equals(whole.bytes));
  }
});

test('images that stand alone become a new index, in whatever order they came', () => {
  const images = [alone('linux/arm64'), alone('linux/amd64'), alone('linux/arm/v7'), alone('linux/amd64')];
  const merged = mergeIndexes({ indexes: [], images });
  const turned = mergeIndexes({ indexes: [], images: images.toReversed() });
  assert.equal(merged.descriptor.digest, turned.descriptor.digest);
  assert.deepEqual(
    parsed(merged.bytes).manifests.map(({ digest }) => digest),
    [amd64, arm, arm64].map(({ root }) => root.digest),
  );
});

test('different indexes become the larger one with the missing children appended', () => {
  const two = indexed([amd64, { image: arm64, annotations: { mine: '1' } }], 'two', {
    annotations: { a: 'two', created: '2024' },
    artifactType: 'application/x',
  });
  const attestation = attestationOf(arm);
  const one = indexed([attestation, { image: arm, annotations: { 'sh.brew.tab': '{}' } }], 'one', {
    annotations: { b: 'one', created: '2023' },
  });
  const more = [alone('linux/s390x')];
  const merged = mergeIndexes({ indexes: [one, indexed([arm64], 'third'), two], images: more });
  const turned = mergeIndexes({ indexes: [two, one], images: more });
  assert.equal(merged.bytes.toString(), turned.bytes.toString());
  assert.deepEqual(merged.descriptor, {
    mediaType: 'application/vnd.oci.image.index.v1+json',
    digest: digestOf(merged.bytes),
    size: merged.bytes.length,
  });
  const json = parsed(merged.bytes);
  assert.deepEqual(
    json.manifests.map(({ digest }) => digest),
    [amd64, arm64, arm, image('linux/s390x'), attestation.image].map(({ root }) => root.digest),
  );
  assert.deepEqual(json.manifests[1]?.annotations, { mine: '1' });
  assert.deepEqual(json.manifests[2]?.annotations, { 'sh.brew.tab': '{}' });
  assert.equal(json.manifests[4]?.annotations?.['vnd.docker.reference.digest'], arm.root.digest);
  assert.deepEqual(json.annotations, { a: 'two', created: '2024', b: 'one' });
});

test('two images for one platform name both origins', () => {
  const images = [alone('linux/arm64', 'a.tar'), alone('linux/arm64', 'b.tar', 'other')];
  fails(() => mergeIndexes({ indexes: [], images }), 'conflict', /two images for linux\/arm64.*\.tar.*\.tar/);
  const index = indexed([arm64], 'site/app:1');
  fails(
    () => mergeIndexes({ indexes: [index], images: [alone('linux/arm64', 'b.tar', 'other')] }),
    'conflict',
    /of site\/app:1 and .* of b\.tar/,
  );
});

test('indexes that are different kinds of artifact are not merged', () => {
  const chart = indexed([amd64], 'chart', { artifactType: 'application/chart' });
  const other = indexed([arm64], 'other', { artifactType: 'application/other' });
  fails(
    () => mergeIndexes({ indexes: [chart, other], images: [] }),
    'conflict',
    /artifactType; got application\/\w+ of \w+ and application\/\w+ of \w+/,
  );
});

test('nothing to merge is no index', () => {
  fails(() => mergeIndexes({ indexes: [], images: [] }), 'usage', /no children/);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { filterIndex, selectPlatforms } from '../../src/oci/filter.js';
import { attestationSubject } from '../../src/oci/manifest.js';
import { ociIndex, ociManifest } from '../../src/oci/media-types.js';
import { decodePlatform, parsePlatform } from '../../src/oci/platform.js';

function leaf(name: string, platform?: string, subject?: string): Descriptor {
  return {
    mediaType: ociManifest,
    digest: digestOf(Buffer.from(name)),
    size: name.length,
    platform:
      platform === 'unknown/unknown'
        ? decodePlatform({ os: 'unknown', architecture: 'unknown' }, 'test')
        : platform === undefined
          ? undefined
          : parsePlatform(platform),
    annotations: subject === undefined ? undefined : { [attestationSubject]: subject },
  };
}

const amd64 = leaf('amd64', 'linux/amd64');
const arm64 = leaf('arm64', 'linux/arm64');
const ofAmd64 = leaf('attestation of amd64', 'unknown/unknown', amd64.digest);
const ofArm64 = leaf('attestation of arm64', 'unknown/unknown', arm64.digest);
const artifact = leaf('artifact');

test('attestations follow their image; children without a platform stay', () => {
  const { kept, missing, available } = selectPlatforms(
    [amd64, arm64, ofAmd64, ofArm64, artifact],
    [parsePlatform('linux/arm64')],
  );
  assert.deepEqual([...kept].sort(), [arm64.digest, ofArm64.digest, artifact.digest].sort());
  assert.deepEqual(missing, []);
  assert.deepEqual(available, ['linux/amd64', 'linux/arm64']);
});

test('a platform no leaf has is missing', () => {
  const { missing } = selectPlatforms([amd64], [parsePlatform('linux/amd64'), parsePlatform('linux/s390x')]);
  assert.deepEqual(missing, [parsePlatform('linux/s390x')]);
});

test('a filtered index keeps every other field and is always the same bytes', () => {
  const child = (digest: Digest): object => ({
    mediaType: ociManifest,
    digest,
    size: 5,
    'x.custom': { deep: [1] },
  });
  const bytes = Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType: ociIndex,
        custom: 'kept',
        manifests: [child(amd64.digest), child(arm64.digest)],
        annotations: { a: 'b' },
      },
      null,
      3,
    ),
  );
  const descriptor: Descriptor = { mediaType: ociIndex, digest: digestOf(bytes), size: bytes.byteLength };
  const keepArm = (digest: string): Descriptor | undefined => (digest === arm64.digest ? arm64 : undefined);
  const filtered = filterIndex(bytes, descriptor, keepArm);
  assert.equal(
    filtered.bytes.toString(),
    `{"schemaVersion":2,"mediaType":"${ociIndex}","custom":"kept","manifests":[{"mediaType":"${ociManifest}","digest":"${arm64.digest}","size":5,"x.custom":{"deep":[1]}}],"annotations":{"a":"b"}}`,
  );
  assert.equal(filtered.descriptor.digest, digestOf(filtered.bytes));
  assert.equal(filtered.descriptor.size, filtered.bytes.byteLength);
});

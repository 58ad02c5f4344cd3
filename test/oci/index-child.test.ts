import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IndexDraft } from '../../src/oci/compose.js';
import { digestOf } from '../../src/oci/digest.js';
import { filterIndex } from '../../src/oci/filter.js';
import { childOf } from '../../src/oci/index-child.js';
import { ociIndex } from '../../src/oci/media-types.js';
import { imageOf, layer, type TestImage } from '../support/images.js';

const image = (platform: string): TestImage => imageOf({ platform, layers: [layer([])] });

function entryOf({ root: { mediaType, digest, size } }: TestImage, platform: object): object {
  return { mediaType, digest, size, platform, 'x-own': 1 };
}

function platformsOf(bytes: Buffer): object[] {
  const { manifests } = JSON.parse(bytes.toString()) as { manifests: { platform: object }[] };
  return manifests.map(({ platform }) => platform);
}

test('an index that is altered or filtered names architectures as Go does; one that is not keeps its bytes', () => {
  const [intel, arm, other] = [image('linux/amd64'), image('linux/arm64'), image('linux/s390x')];
  const arm64 = { architecture: 'arm64', os: 'linux', variant: 'v8' };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      manifests: [entryOf(intel, { architecture: 'x86_64', os: 'linux', note: 'kept' }), entryOf(arm, arm64)],
    }),
  );
  const descriptor = { mediaType: ociIndex, digest: digestOf(bytes), size: bytes.byteLength };
  const index = { bytes, descriptor, from: 'old' };

  const whole = IndexDraft.of(index);
  whole.add(childOf(intel.root, 'intel', { architecture: 'amd64', os: 'linux' }));
  assert.deepEqual(whole.finish().bytes, bytes);

  const altered = IndexDraft.of(index);
  altered.add(childOf(other.root, 'other', { architecture: 's390x', os: 'linux' }));
  const amd64 = { architecture: 'amd64', os: 'linux', note: 'kept' };
  assert.deepEqual(platformsOf(altered.finish().bytes).slice(0, 2), [amd64, arm64]);

  const made = IndexDraft.create();
  made.add(childOf(intel.root, 'intel', { architecture: 'AARCH64', os: 'Linux', variant: 'v8' }));
  assert.deepEqual(platformsOf(made.finish().bytes), [arm64]);

  const filtered = filterIndex(bytes, descriptor, (digest) =>
    digest === intel.root.digest ? intel.root : undefined,
  );
  assert.deepEqual(platformsOf(filtered.bytes), [amd64]);
});

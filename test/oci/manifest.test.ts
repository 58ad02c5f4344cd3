import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';
import { maxManifestSize, parseManifest } from '../../src/oci/manifest.js';
import * as mediaTypes from '../../src/oci/media-types.js';

const digest = `sha256:${'1'.repeat(64)}`;
const descriptor = { mediaType: mediaTypes.ociConfig, digest, size: 2 };
const image = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: descriptor,
  layers: [descriptor],
};

function refused(value: unknown, code: ErrorCode, message: RegExp, mediaType?: string): void {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
  assert.throws(
    () => parseManifest(bytes, mediaType, 'manifest of test'),
    (error) => isAirliftError(error, code) && message.test(error.message),
  );
}

test('manifests and indexes are read', () => {
  const manifest = parseManifest(Buffer.from(JSON.stringify(image)), mediaTypes.ociManifest, 'test');
  assert.equal(manifest.kind, 'manifest');
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        ...descriptor,
        mediaType: mediaTypes.ociManifest,
        platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
      },
    ],
  };
  const parsed = parseManifest(Buffer.from(JSON.stringify(index)), undefined, 'test');
  assert.ok(parsed.kind === 'index');
  assert.deepEqual(parsed.manifests[0]?.platform, {
    os: 'linux',
    architecture: 'arm64',
    variant: undefined,
    osVersion: undefined,
    osFeatures: undefined,
  });
});

test('Docker schema 1 is refused by name', () => {
  refused(
    { schemaVersion: 1, name: 'x', fsLayers: [], history: [] },
    'unsupported',
    /Docker schema 1/,
    mediaTypes.dockerSchema1Signed,
  );
  refused({ schemaVersion: 1 }, 'unsupported', /Docker schema 1/);
});

test('a document that is no manifest is rejected, and the error tells what it is', () => {
  refused(Buffer.from('<!DOCTYPE html><html><body>Sign in</body></html>'), 'input', /got an HTML page/);
  refused(Buffer.from('nope'), 'input', /not JSON; it begins with "nope"/);
  refused(Buffer.from('[]'), 'input', /not a JSON object/);
  refused(
    Buffer.alloc(maxManifestSize + 1, 32),
    'input',
    /too large; got 4194305 bytes, want at most 4194304/,
  );
  refused(
    { schemaVersion: 2, mediaType: 'text/plain' },
    'unsupported',
    /unknown manifest media type "text\/plain"/,
  );
});

test('a manifest that could be read in two ways is refused', () => {
  refused({ ...image, manifests: [] }, 'input', /ambiguous/);
  refused(
    { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [], layers: [] },
    'input',
    /ambiguous/,
  );
});

test('the media type in the manifest takes precedence over the label', () => {
  for (const label of [mediaTypes.dockerManifest, mediaTypes.ociIndex, 'text/plain', '', undefined])
    assert.equal(
      parseManifest(Buffer.from(JSON.stringify(image)), label, 'it').mediaType,
      mediaTypes.ociManifest,
    );
});

test('broken descriptors are refused', () => {
  refused(
    { ...image, layers: [{ ...descriptor, digest: 'sha256:../../x' }] },
    'input',
    /layers\[0\]: descriptor has no sha256/,
  );
  refused({ ...image, layers: [{ ...descriptor, size: -1 }] }, 'input', /no valid size/);
  refused({ ...image, layers: [{ ...descriptor, size: 1e300 }] }, 'input', /no valid size/);
  refused({ ...image, config: undefined }, 'input', /no config/);
  refused({ ...image, annotations: { a: 1 } }, 'input', /annotation "a" is not a string/);
});

import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleReader } from '../src/bundle/reader.js';
import { isAirliftError } from '../src/errors.js';
import { inspect } from '../src/inspect.js';
import { everyKind, writeBundle, type Cargo } from './bundle/write-bundle.js';
import { multiPlatform, singlePlatform } from './support/image-sets.js';
import type { TestImage } from './support/images.js';
import { temp } from './support/temp.js';

function bytesOfImage({ manifests, blobs }: TestImage): number {
  return [...manifests.values(), ...blobs.values()].reduce((sum, { size }) => sum + size, 0);
}

test('inspect lists images, platforms, sizes and the bytes saved by sharing', async (t) => {
  const path = join(temp(t), 'a.tar');
  const images = [
    multiPlatform({ name: 'a', roots: ['base'] }),
    multiPlatform({ name: 'b', roots: ['base'] }),
  ];
  const cargo: Cargo[] = images.map((image, at) => ({ reference: `registry.example/image:${at}`, image }));
  await writeBundle(path, [...cargo].reverse());
  const found = await inspect(path);
  const distinct = new Map(images.flatMap(({ manifests, blobs }) => [...manifests, ...blobs]));
  const blobBytes = [...distinct.values()].reduce((sum, { size }) => sum + size, 0);
  assert.deepEqual(
    { ...found, images: [] },
    {
      bundle: path,
      size: statSync(path).size,
      created: '2024-05-06T07:08:09Z',
      images: [],
      manifests: 8,
      blobs: distinct.size,
      blobBytes,
      leftOut: 0,
      leftOutBytes: 0,
      delta: undefined,
      part: undefined,
      sharedBytes: images.reduce((sum, image) => sum + bytesOfImage(image), 0) - blobBytes,
      signedBy: [],
    },
  );
  assert.ok(found.sharedBytes > 0);
  for (const [at, image] of images.entries()) {
    const platforms = ['linux/amd64', 'linux/arm/v7', 'linux/arm64'].map((platform) => {
      const single = singlePlatform(platform, { name: ['a', 'b'][at] ?? '', roots: ['base'] });
      return { platform, digest: single.root.digest, size: bytesOfImage(single) };
    });
    assert.deepEqual(found.images[at], {
      reference: `registry.example/image:${at}`,
      digest: image.root.digest,
      mediaType: image.root.mediaType,
      original: undefined,
      companionOf: undefined,
      platforms,
      size: bytesOfImage(image),
    });
  }
});

test('signatures are distinguished from images of the list, and attestations are not platforms', async (t) => {
  const path = join(temp(t), 'a.tar');
  await writeBundle(path, everyKind());
  const { images } = await inspect(path);
  const companions = images.filter(({ companionOf }) => companionOf !== undefined);
  assert.equal(companions.length, 1);
  const signed = images.find(({ reference }) => reference === 'registry.example/acme/signed:1');
  assert.equal(companions[0]?.companionOf, signed?.digest);
  const web = images.find(({ reference }) => reference === 'registry.example/acme/web:1.0');
  assert.deepEqual(
    web?.platforms.map(({ platform }) => platform),
    ['linux/amd64', 'linux/arm/v7', 'linux/arm64'],
  );
  const windows = images.find(({ reference }) => reference.includes('windows'));
  assert.deepEqual(
    windows?.platforms.map(({ platform }) => platform),
    ['windows(10.0.17763.1999)/amd64'],
  );
});

test('inspect reads only the head of the file', async (t) => {
  const path = join(temp(t), 'a.tar');
  await writeBundle(path, everyKind());
  const want = await inspect(path);
  const reader = await BundleReader.open(path);
  await reader.close();
  const bytes = readFileSync(path).fill(0, reader.head.start + 512);
  writeFileSync(path, bytes);
  assert.deepEqual(await inspect(path), want);
});

test('inspect rejects a truncated file', async (t) => {
  const path = join(temp(t), 'a.tar');
  await writeBundle(path, everyKind());
  const { size } = statSync(path);
  truncateSync(path, size - 2000);
  await assert.rejects(inspect(path), (error) => {
    assert.ok(isAirliftError(error, 'damaged'));
    assert.match(error.message, new RegExp(`truncated; got ${size - 2000} bytes, want ${size}`));
    return true;
  });
});

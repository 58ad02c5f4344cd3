import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { formatLock, type LockedImage } from '../../src/lists/lock.js';
import { parseImageList, parseImageLists } from '../../src/lists/read.js';
import { digestOf } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';

const digest = (text: string): ReturnType<typeof digestOf> => digestOf(Buffer.from(text));

const images: LockedImage[] = [
  {
    reference: parseReference('rancher/pause:3.1'),
    digest: digest('a'),
    platforms: ['linux/amd64', 'linux/arm/v7', 'windows(10.0.17763.1)/amd64'].map(parsePlatform),
    referrers: [digest('s'), digest('t')],
  },
  {
    reference: parseReference('[fd00::1]:5000/a/b:1_'),
    digest: digestOf(Buffer.from('b'), 'sha512'),
    referrers: [],
  },
  { reference: parseReference(`ghcr.io/acme/api@${digest('c')}`), digest: digest('c') },
];

test('a lock that is read and written again has the same content and bytes', () => {
  const text = formatLock(images);
  const list = parseImageList(text, 'site.lock.yaml');
  assert.deepEqual(list.lists, [{ file: 'site.lock.yaml', formats: ['lock'] }]);
  const back = list.references.map(({ reference, pinned, platforms, referrers }) => {
    assert.ok(pinned !== undefined);
    return { reference, digest: pinned, platforms, referrers };
  });
  assert.deepEqual(
    back.map((image) => JSON.stringify(image)),
    images.map(({ reference, digest, platforms, referrers }) =>
      JSON.stringify({ reference, digest, platforms, referrers }),
    ),
  );
  assert.equal(formatLock(back), text);
});

test('another YAML reader reads the same content', () => {
  for (const version of ['1.1', '1.2'] as const) {
    assert.deepEqual(parse(formatLock(images.slice(0, 2)), { version }), {
      kind: 'AirliftLock',
      version: 1,
      images: [
        {
          reference: 'docker.io/rancher/pause:3.1',
          digest: digest('a'),
          platforms: ['linux/amd64', 'linux/arm/v7', 'windows(10.0.17763.1)/amd64'],
          referrers: [digest('s'), digest('t')],
        },
        { reference: '[fd00::1]:5000/a/b:1_', digest: images[1]?.digest, referrers: [] },
      ],
    });
  }
  assert.deepEqual(parseImageList(formatLock([]), 'x').references, []);
});

test('a lock that contradicts itself or has another version is refused', () => {
  const text = formatLock(images.slice(0, 1));
  assert.throws(
    () =>
      parseImageLists([
        { file: 'a', text },
        { file: 'b', text: text.replace(digest('a'), digest('z')) },
      ]),
    /b:5: docker\.io\/rancher\/pause:3\.1 is locked twice; got sha256:[0-9a-f]{64}, want sha256:[0-9a-f]{64} as in a:5/,
  );
  assert.throws(() => parseImageList(text.replace('version: 1', 'version: 2'), 'l'), /got 2, want 1/);
  assert.throws(
    () => parseImageList(text.replace(digest('a'), 'sha256:12'), 'l'),
    /l:5: an entry of the lock/,
  );
  assert.throws(() => parseImageList(text.replace(digest('s'), 'x'), 'l'), /l:5: parse digest "x"/);
});

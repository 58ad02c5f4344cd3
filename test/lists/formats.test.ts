import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageList } from '../../src/lists/read.js';
import { formatPlatform } from '../../src/oci/platform.js';
import { formatReference, formatRepository } from '../../src/oci/reference.js';

function imagesOf(text: string): string[] {
  return parseImageList(text, 'l').references.map((listed) => {
    const platforms = listed.platforms?.map(formatPlatform).join(',');
    return `${listed.line} ${formatReference(listed.reference)}${platforms === undefined ? '' : ` ${platforms}`}`;
  });
}

function formats(text: string): readonly string[] {
  return parseImageList(text, 'l').lists[0]?.formats ?? [];
}

const digest = `sha256:${'0'.repeat(64)}`;

test('the format of a list is detected by its content', () => {
  assert.deepEqual(formats('# comment\n\nrancher/pause:3.1\nredis\n'), ['text']);
  assert.deepEqual(formats('localhost:5000/a/b:1\n'), ['text']);
  assert.deepEqual(formats('[::1]:5000/a/b:1\n'), ['text']);
  assert.deepEqual(formats('# comment\n- redis\n- "a/b:1"\n'), ['yaml']);
  assert.deepEqual(formats('["redis", "a/b:1"]'), ['yaml']);
  assert.deepEqual(formats('services: {a: {image: b}}'), ['compose']);
  assert.deepEqual(formats('# values\n---\napiVersion: v1\nkind: Pod\n---\nservices: {a: {image: b}}'), [
    'kubernetes',
    'compose',
  ]);
  assert.deepEqual(imagesOf('- redis\n- "a/b:1"\n'), [
    '1 docker.io/library/redis:latest',
    '2 docker.io/a/b:1',
  ]);
});

test('tags, digests and patterns of a skopeo sync list are read', () => {
  const text = `registry.example.com:
    images:
        busybox: []
        redis:
            - "1.0"
            - 2.0
            - "${digest}"
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: ">= 3.12.0, < 4"
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
docker.io:
    images:
        coreos/etcd: [latest]
        hello: [v1]
`;
  assert.throws(() => imagesOf(text.replace('^1', '(^1')), /l:9: .*missing closing \)/);
  assert.throws(
    () => imagesOf('myregistry:\n    images:\n        a: [b]\n'),
    /l:2: the registry "myregistry" has neither a dot nor a port/,
  );
  const list = parseImageList(text, 'l');
  assert.deepEqual(list.lists[0]?.formats, ['skopeo-sync']);
  assert.deepEqual(
    list.references.map((listed) => `${listed.line} ${formatReference(listed.reference)}`),
    [
      '5 registry.example.com/redis:1.0',
      '6 registry.example.com/redis:2.0',
      `7 registry.example.com/redis@${digest}`,
      '18 docker.io/coreos/etcd:latest',
      '19 docker.io/library/hello:v1',
    ],
  );
  assert.deepEqual(
    list.patterns.map((listed) => `${listed.line} ${formatRepository(listed.repository)} ${listed.pattern}`),
    [
      '3 registry.example.com/busybox all',
      '9 registry.example.com/nginx regex:^1\\.13\\.[12]-alpine-perl$',
      '11 registry.example.com/alpine semver:>= 3.12.0, < 4',
    ],
  );
  assert.equal(list.notes.length, 1);
  assert.ok(!JSON.stringify(list).includes('secret'), 'credentials stay where they are');
});

test('images of a Hauler manifest are read with their platforms', () => {
  const text = `apiVersion: content.hauler.cattle.io/v1
kind: Images
metadata:
  annotations:
    hauler.dev/registry: ghcr.io
    hauler.dev/platform: linux/amd64
spec:
  images:
    - name: neuvector/scanner
    - name: docker.io/neuvector/updater:latest
      platform: linux/arm64
    - name: neuvector/scanner
      platform: linux/arm/v7
---
apiVersion: content.hauler.cattle.io/v1
kind: Charts
spec: {charts: [{name: x}]}
`;
  assert.deepEqual(imagesOf(text), [
    '9 ghcr.io/neuvector/scanner:latest linux/amd64,linux/arm/v7',
    '10 docker.io/neuvector/updater:latest linux/arm64',
  ]);
  assert.match(parseImageList(text, 'l').notes[0]?.message ?? '', /kind Charts lists no images/);
});

test('the digests of an imgpkg lock are read', () => {
  const text = `apiVersion: imgpkg.carvel.dev/v1alpha1
kind: ImagesLock
images:
  - image: index.docker.io/library/redis@${digest}
    annotations: {kbld.carvel.dev/id: redis}
---
apiVersion: imgpkg.carvel.dev/v1alpha1
kind: BundleLock
bundle: {image: "ghcr.io/a/bundle@${digest}", tag: v1}
`;
  assert.deepEqual(imagesOf(text), [`4 docker.io/library/redis@${digest}`, `9 ghcr.io/a/bundle@${digest}`]);
});

test('mistakes in manifests are reported with their lines', () => {
  const text = `apiVersion: content.hauler.cattle.io/v1
kind: Images
spec:
  images:
    - platform: linux/amd64
    - name: a/b
      platform: not a platform
---
apiVersion: imgpkg.carvel.dev/v1alpha1
kind: ImagesLock
images: [{digest: x}]
`;
  assert.throws(
    () => imagesOf(text),
    (error: Error) => {
      for (const line of [5, 6, 11]) assert.ok(error.message.includes(`\n  l:${line}: `), error.message);
      return true;
    },
  );
});

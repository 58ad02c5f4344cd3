import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interpolate } from '../../src/lists/compose.js';
import { parseImageList } from '../../src/lists/read.js';
import { formatPlatform } from '../../src/oci/platform.js';
import { formatReference } from '../../src/oci/reference.js';

test('the image of every service in every profile is read', () => {
  const text = `name: shop
x-base: &base
  image: a/base:1
  restart: always
services:
  web:
    image: ghcr.io/acme/web:\${WEB_TAG:-2.1}
  cache: {image: "redis:\${REDIS-7}", profiles: [cache]}
  job:
    <<: *base
  own:
    <<: *base
    image: a/own:1
    platform: linux/arm64
  built:
    build: .
  published: {build: ., image: a/published}
  child:
    extends: {service: web}
include: [other.yml]
`;
  const list = parseImageList(text, 'compose.yaml');
  assert.deepEqual(
    list.references.map(
      ({ reference, line, platforms }) =>
        `${line} ${formatReference(reference)} ${platforms?.map(formatPlatform).join() ?? ''}`,
    ),
    [
      '7 ghcr.io/acme/web:2.1 ',
      '8 docker.io/library/redis:7 ',
      '3 docker.io/a/base:1 ',
      '13 docker.io/a/own:1 linux/arm64',
      '17 docker.io/a/published:latest ',
    ],
  );
  assert.deepEqual(
    list.notes.map(({ message }) => message),
    [
      'service "built" has "build" and no image to pull',
      'service "published" has "build" too; airlift pulls its image',
      'service "child" extends another service and names no image of its own',
      'airlift does not read included compose files; add them as lists',
    ],
  );
});

test('a variable without a default is reported with its line', () => {
  const text =
    'services:\n  web:\n    image: acme/web:${TAG}\n  db:\n    image: ${REGISTRY:?set it}/db:$VERSION\n';
  assert.throws(
    () => parseImageList(text, 'c.yml'),
    /c\.yml:3: the image of service "web" needs a value for TAG, which .*\n {2}c\.yml:5: the image of service "db" needs a value for REGISTRY, VERSION,/,
  );
});

test('interpolation follows the Compose specification for variables that are not set', () => {
  const cases: [string, string, string[]][] = [
    ['a', 'a', []],
    ['$$x', '$x', []],
    ['${A:-b}', 'b', []],
    ['${A-b}${C:-}', 'b', []],
    ['${A:-${B:-c}}/d', 'c/d', []],
    ['${A:-x${B}y}', 'xy', ['B']],
    ['${A:+b}c${D+e}', 'c', []],
    ['$A$B_1', '', ['A', 'B_1']],
    ['${A:?no}', '', ['A']],
    ['${A', '${A', []],
    ['5$', '5$', []],
    ['${}', '${}', []],
  ];
  for (const [text, want, names] of cases) {
    const missing: string[] = [];
    assert.equal(
      interpolate(text, (name) => missing.push(name)),
      want,
      text,
    );
    assert.deepEqual(missing, names, text);
  }
  const deep = '${A:-'.repeat(100_000);
  assert.equal(typeof interpolate(deep, () => undefined), 'string');
});

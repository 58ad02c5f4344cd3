import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyValues, sourcesOf } from '../../src/cli/index-flags.js';
import { isAirliftError } from '../../src/errors.js';
import { formatReference } from '../../src/oci/reference.js';

const app = 'site.test:5000/team/app:1.0-amd64';
const other = 'other/app';

test('flags for a reference match it in any spelling', () => {
  const sources = sourcesOf({
    references: [app, other],
    platform: [`${app}=linux/amd64`, 'docker.io/other/app:latest=none'],
    annotationFor: [`${app}:a.b/c=x:y=z`, `${app}:d=`, `${other}:e=https://example.test/?q=1`],
  });
  assert.deepEqual(
    sources.map(({ reference, platform, annotations }) => [
      formatReference(reference),
      typeof platform === 'object' ? platform.architecture : platform,
      annotations,
    ]),
    [
      [app, 'amd64', { 'a.b/c': 'x:y=z', d: '' }],
      ['docker.io/other/app:latest', 'none', { e: 'https://example.test/?q=1' }],
    ],
  );
});

test('a reference with a digest is accepted', () => {
  const pinned = `site.test/app@sha256:${'a'.repeat(64)}`;
  const [source] = sourcesOf({
    references: [pinned],
    platform: [`${pinned}=linux/arm/v6`],
    annotationFor: [`${pinned}:k=v`],
  });
  assert.equal(typeof source?.platform === 'object' ? source.platform.variant : undefined, 'v6');
  assert.deepEqual(source?.annotations, { k: 'v' });
});

test('annotations of the index are split at the first equals sign', () => {
  assert.deepEqual(keyValues('annotation', ['a=b=c', 'd=']), { a: 'b=c', d: '' });
  assert.deepEqual(keyValues('annotation', undefined), {});
});

test('malformed flags are rejected with the expected form', () => {
  const cases: [work: () => unknown, message: RegExp][] = [
    [() => keyValues('annotation', ['novalue']), /--annotation: got "novalue", want KEY=VALUE/],
    [() => keyValues('annotation', ['=v']), /want KEY=VALUE/],
    [() => sourcesOf({ references: [app], platform: ['linux/arm64'] }), /--platform: .* want REF=PLATFORM/],
    [() => sourcesOf({ references: [app], platform: [`${app}=arm/arm/arm/arm`] }), /not os\/architecture/],
    [
      () => sourcesOf({ references: [app], platform: ['x/y=linux/arm64'] }),
      /want a value that starts with one of site\.test:5000/,
    ],
    [() => sourcesOf({ references: [app], annotationFor: ['k=v'] }), /want REF:KEY=VALUE/],
    [() => sourcesOf({ references: [app], annotationFor: [`${app}:=v`] }), /want REF:KEY=VALUE/],
  ];
  for (const [work, message] of cases)
    assert.throws(
      work,
      (error) => isAirliftError(error, 'usage') && message.test(error.message),
      String(message),
    );
});

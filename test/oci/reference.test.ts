import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { isLoopback, formatReference, parseReference } from '../../src/oci/reference.js';

const hex = 'a'.repeat(64);

const good: readonly (readonly [string, string])[] = [
  ['redis', 'docker.io/library/redis:latest'],
  ['redis:7', 'docker.io/library/redis:7'],
  ['rancher/pause:3.1', 'docker.io/rancher/pause:3.1'],
  ['docker.io/redis', 'docker.io/library/redis:latest'],
  ['index.docker.io/library/redis', 'docker.io/library/redis:latest'],
  ['ghcr.io/acme/api', 'ghcr.io/acme/api:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  ['127.0.0.1:5000/team/app', '127.0.0.1:5000/team/app:latest'],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
  ['HOST/app', 'HOST/app:latest'],
  [`ghcr.io/acme/api@sha256:${hex}`, `ghcr.io/acme/api@sha256:${hex}`],
  [`ghcr.io/acme/api:2.1@sha256:${hex}`, `ghcr.io/acme/api:2.1@sha256:${hex}`],
  ['a/b/c/d/e:x', 'docker.io/a/b/c/d/e:x'],
  ['quay.io/a__b/c-d.e/f---g', 'quay.io/a__b/c-d.e/f---g:latest'],
];

test('references are read as docker reads them', () => {
  for (const [text, full] of good) assert.equal(formatReference(parseReference(text)), full);
});

const bad: readonly (readonly [string, RegExp])[] = [
  ['', /empty/],
  ['https://ghcr.io/acme/api', /has a scheme/],
  ['Redis', /not a repository path/],
  ['ghcr.io/acme/api:', /is not a tag/],
  [`ghcr.io/acme/api:${'x'.repeat(129)}`, /is not a tag/],
  ['ghcr.io/acme/api@sha256:12', /not a sha256 or sha512 digest/],
  ['ghcr.io//api', /not a repository path/],
  ['ghcr.io/../api', /not a repository path/],
  ['-host.io/api', /not a registry host/],
  [hex, /image ID/],
  ['a/b c', /not a repository path/],
  [`docker.io/${'a'.repeat(256)}`, /not a repository path/],
];

test('an invalid reference is rejected, and the error names the wrong part', () => {
  for (const [text, message] of bad) {
    assert.throws(
      () => parseReference(text),
      (error) => isAirliftError(error, 'usage') && message.test(error.message),
      text,
    );
  }
});

test('an upper case path gets a hint', () => {
  assert.throws(
    () => parseReference('ghcr.io/Acme/api'),
    (error) => isAirliftError(error, 'usage') && error.hint === 'repository paths are lower case',
  );
});

test('hosts of the loopback network are found, with and without a port', () => {
  for (const host of [
    'localhost',
    'LOCALHOST:5000',
    '127.0.0.1',
    '127.9.8.7:1',
    '[::1]:5000',
    '[::1]',
    '::1',
  ])
    assert.equal(isLoopback(host), true, host);
  for (const host of [
    'localhost.evil.test',
    '127.0.0.1.evil.test',
    '10.0.0.1',
    '[::2]',
    '1127.0.0.1',
    '127.999.0.1',
    '',
  ])
    assert.equal(isLoopback(host), false, host);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { formatPlatform, matchPlatform, decodePlatform, parsePlatform } from '../../src/oci/platform.js';

test('platforms come into the normal form of containerd', () => {
  const pairs: readonly (readonly [string, string])[] = [
    ['linux/amd64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/arm64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/7', 'linux/arm/v7'],
    ['linux/arm/v6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['arm64', 'linux/arm64'],
    ['Linux/AMD64', 'linux/amd64'],
    ['windows(10.0.17763.1)/amd64', 'windows(10.0.17763.1)/amd64'],
    ['macos/arm64', 'darwin/arm64'],
  ];
  for (const [text, normal] of pairs) assert.equal(formatPlatform(parsePlatform(text)), normal);
});

test('an invalid platform is rejected', () => {
  for (const text of ['', 'linux', 'linux/', 'linux/arm/v7/x', 'li nux/amd64', 'linux/../x']) {
    assert.throws(
      () => parsePlatform(text),
      (error) => isAirliftError(error, 'usage'),
      text,
    );
  }
});

test('a machine gets its own variant, else the best lesser one', () => {
  const entries = ['linux/arm/v5', 'linux/arm/v6', 'linux/arm64', 'linux/amd64'].map((text) => ({
    platform: parsePlatform(text),
  }));
  const match = (text: string): string[] =>
    matchPlatform(parsePlatform(text), entries).map((entry) => formatPlatform(entry.platform));
  assert.deepEqual(match('linux/arm/v7'), ['linux/arm/v6']);
  assert.deepEqual(match('linux/arm/v5'), ['linux/arm/v5']);
  assert.deepEqual(match('linux/arm64/v8'), ['linux/arm64']);
  assert.deepEqual(match('linux/amd64/v3'), ['linux/amd64']);
  assert.deepEqual(match('linux/s390x'), []);
  assert.deepEqual(match('windows/amd64'), []);
});

test('a platform without OS version matches every OS version', () => {
  const entries = ['1', '2'].map((osVersion) => ({
    platform: decodePlatform({ os: 'windows', architecture: 'amd64', 'os.version': osVersion }, 'test'),
  }));
  assert.equal(matchPlatform(parsePlatform('windows/amd64'), entries).length, 2);
  assert.equal(matchPlatform(parsePlatform('windows(2)/amd64'), entries).length, 1);
});

test('platform fields of the wrong type are refused', () => {
  assert.throws(
    () => decodePlatform({ os: 1 }, 'test'),
    (error) => isAirliftError(error, 'input'),
  );
});

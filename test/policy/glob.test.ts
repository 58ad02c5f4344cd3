import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGlob } from '../../src/policy/glob.js';

const matches = (glob: string, name: string): boolean => {
  const parsed = parseGlob(glob);
  assert.equal(typeof parsed, 'function', glob);
  return (parsed as (name: string) => boolean)(name);
};

test('globs match as those of policy-controller', () => {
  const cases: readonly [glob: string, name: string, expected: boolean][] = [
    ['**', 'ghcr.io/acme/app:1', true],
    ['ghcr.io/**', 'ghcr.io/acme/app:1', true],
    ['ghcr.io/*/*', 'ghcr.io/acme/app:1', true],
    ['ghcr.io/*', 'ghcr.io/acme/app:1', false],
    ['ghc**', 'ghcr.io/acme', true],
    ['*/**', 'ghcr.io/acme', true],
    ['ghcr.io/acme*', 'ghcr.io/acme', true],
    ['ghcr.io/acme**', 'ghcr.io/acme', true],
    ['ghcr.io/acme', 'evil-ghcr.io/acme', false],
    ['ghcr.io/acme', 'ghcr.io/acme-evil', false],
    ['ghcr.io/**', 'ghcrxio/acme', false],
    ['*', 'index.docker.io/library/redis:7', true],
    ['*', 'ghcr.io/acme', false],
    ['*/*', 'index.docker.io/acme/app:1', true],
    ['*/*', 'ghcr.io/acme', false],
    ['ghcr.io/***', 'ghcr.io/acme/app', true],
  ];
  for (const [glob, name, expected] of cases) assert.equal(matches(glob, name), expected, `${glob} ${name}`);
  for (const glob of ['.+', '[a-z]*', '', 'app@sha256:*', 'a b'])
    assert.equal(typeof parseGlob(glob), 'string', glob);
});

test('globs match like the regular expressions that policy-controller makes of them', () => {
  const pieces = ['a', 'b', '/', ':', '*', '**'];
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const text = (from: readonly string[]): string =>
    Array.from({ length: 1 + random(6) }, () => from[random(from.length)]).join('');
  for (let round = 0; round < 5000; round++) {
    const [glob, name] = [text(pieces), text(pieces.slice(0, 4))];
    if (glob === '*' || glob === '*/*') continue;
    const pattern = glob.replaceAll('**', '#').replaceAll('*', '[^/]*').replaceAll('#', '.*');
    assert.equal(matches(glob, name), new RegExp(`^${pattern}$`).test(name), `${glob} ${name}`);
  }
});

test('a glob of many wildcards takes no longer than its length allows', () => {
  assert.equal(matches('*a'.repeat(250), `${'a'.repeat(400)}/`), false);
  assert.equal(matches('**a'.repeat(160), `${'a'.repeat(500)}b`), false);
});

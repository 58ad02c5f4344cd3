import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareTags, parseTagPattern, selectTags } from '../../src/lists/tags.js';

const tags = [
  'latest',
  'v1.31.0',
  'v1.9.0',
  'v1.28.3-rc1',
  'v1.28.3',
  '1.28.10',
  'v1.30',
  'v1.28.3-k3s2',
  'v1.28.3-k3s10',
  'v1.28.3-rc1-k3s1',
  'v1.29.0-rke2r1',
  '1.28.4-alpine',
  '1.30.1_build5',
  '20240101',
  '7',
  '1.2.3.4',
  'edge-10',
  'edge-9',
  `sha256-${'a'.repeat(64)}.sig`,
  `sha256-${'a'.repeat(64)}`,
  'bad tag',
  'latest',
];

function select(pattern: string): string[] {
  return selectTags(parseTagPattern(pattern), tags);
}

test('a version range selects versions with and without v, short versions and builds, oldest first', () => {
  assert.deepEqual(select('semver:>=1.28 <1.31'), [
    'v1.28.3',
    'v1.28.3-k3s2',
    'v1.28.3-k3s10',
    '1.28.10',
    'v1.29.0-rke2r1',
    'v1.30',
    '1.30.1_build5',
  ]);
  assert.deepEqual(select('semver:>= 1.28, < 1.29'), ['v1.28.3', 'v1.28.3-k3s2', 'v1.28.3-k3s10', '1.28.10']);
  assert.deepEqual(select('semver:~1.9 || ~1.31'), ['v1.9.0', 'v1.31.0']);
});

test('a range selects prereleases only if it names one of the same version', () => {
  assert.deepEqual(select('semver:>=1.28.3-0 <1.28.4'), [
    'v1.28.3-rc1',
    'v1.28.3-rc1-k3s1',
    'v1.28.3',
    'v1.28.3-k3s2',
    'v1.28.3-k3s10',
  ]);
  assert.deepEqual(select('semver:1.28.4-alpine'), ['1.28.4-alpine']);
});

test('all selects every tag except those of signatures, in order', () => {
  assert.deepEqual(select('all'), [
    'v1.9.0',
    'v1.28.3-rc1',
    'v1.28.3-rc1-k3s1',
    'v1.28.3',
    'v1.28.3-k3s2',
    'v1.28.3-k3s10',
    '1.28.4-alpine',
    '1.28.10',
    'v1.29.0-rke2r1',
    'v1.30',
    '1.30.1_build5',
    'v1.31.0',
    '1.2.3.4',
    '7',
    '20240101',
    'edge-9',
    'edge-10',
    'latest',
  ]);
});

test('a regular expression matches anywhere unless it is anchored', () => {
  assert.deepEqual(select('regex:^edge'), ['edge-9', 'edge-10']);
  assert.deepEqual(select('regex:k3s'), ['v1.28.3-rc1-k3s1', 'v1.28.3-k3s2', 'v1.28.3-k3s10']);
  assert.deepEqual(select('regex:sig$'), []);
});

test('the order of tags does not depend on the order in the registry', () => {
  const sorted = [...tags].sort(compareTags);
  assert.deepEqual([...tags].reverse().sort(compareTags), sorted);
});

test('an invalid pattern is refused', () => {
  for (const text of [
    'semver:',
    'semver:nonsense',
    'semver:!=1.0',
    `semver:${'1 '.repeat(500)}`,
    'regex:(',
    '>=1',
    '',
  ])
    assert.throws(() => parseTagPattern(text), { code: 'usage' }, text);
});

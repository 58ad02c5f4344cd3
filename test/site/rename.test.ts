import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReference } from '../../src/oci/reference.js';
import { parseNameMap, parseRenameRule } from '../../src/site/rename.js';

function rename(rule: string, source: string): string | undefined {
  return parseRenameRule(rule).apply(parseReference(source));
}

test('wildcards match parts of names and insert them into the target', () => {
  const cases: [string, string, string | undefined][] = [
    ['docker.io/library/*=mirror/*', 'redis:7', 'mirror/redis'],
    ['docker.io/library/*=mirror/*', 'rancher/pause', undefined],
    ['docker.io/library/*=mirror/*', 'ghcr.io/library/redis', undefined],
    ['library/*=mirror/*', 'redis', 'mirror/redis'],
    ['redis=cache/redis', 'redis', 'cache/redis'],
    ['redis=cache/redis', 'docker.io/library/redis@sha256:' + 'a'.repeat(64), 'cache/redis'],
    ['redis = cache/redis ', 'acme/redis', undefined],
    ['index.docker.io/library/redis=r', 'redis', 'r'],
    ['rancher/mirrored-*=mirror/*', 'rancher/mirrored-pause:3.6', 'mirror/pause'],
    ['rancher/*-*=x/*', 'rancher/a', undefined],
    ['ghcr.io/*=x/*', 'ghcr.io/a/b', undefined],
    ['ghcr.io/*/*=x/*-*', 'ghcr.io/a/b', 'x/a-b'],
    ['ghcr.io/**=x/**', 'ghcr.io/a/b/c', 'x/a/b/c'],
    ['ghcr.io/**/api=x/**', 'ghcr.io/a/b/api', 'x/a/b'],
    ['*.azurecr.io/**=azure/**', 'corp.azurecr.io/team/api', 'azure/team/api'],
    ['*.azurecr.io/**=azure/**', 'corp.azurecr.iox/team/api', undefined],
    ['*.azurecr.io/**=azure/*/**', 'corp.azurecr.io/team/api', 'azure/corp/team/api'],
    ['localhost:5000/**=local/**', 'localhost:5000/a', 'local/a'],
    ['**=all/**', 'ghcr.io/a', 'all/ghcr.io/a'],
    ['quay.io/a.b=x', 'quay.io/a-b', undefined],
  ];
  for (const [rule, source, want] of cases) {
    if (rule === 'rancher/*-*=x/*') assert.throws(() => parseRenameRule(rule), /more than one \*/);
    else assert.equal(rename(rule, source), want, `${rule} on ${source}`);
  }
});

test('an invalid rule is refused with the reason', () => {
  const cases: [string, RegExp][] = [
    ['', /not PATTERN=TARGET/],
    ['a', /not PATTERN=TARGET/],
    ['a=b=c', /not PATTERN=TARGET/],
    ['=b', /not PATTERN=TARGET/],
    ['*=x/*', /names no registry/],
    ['redis:7=cache/redis', /leave out the tag or digest/],
    ['ghcr.io/a@sha256:1=b', /leave out the tag or digest/],
    ['ghcr.io/A/*=x/*', /is not valid in a repository/],
    ['ghcr.io//a=x', /is not valid in a repository/],
    ['ghcr.io/**/a/**=x/**', /more than one \*\*/],
    ['ghcr.io/a**=x/**', /more than one \*/],
    ['ghcr.io/*=x/**', /the target has more \*\* than the pattern/],
    ['ghcr.io/*=x/*/*', /the target has more \* than the pattern/],
    ['ghcr.io/*=x/***', /is not a wildcard/],
    ['ghcr.io/*=X/*', /is not valid in a repository path/],
    ['ghcr.io/*=x:5000/*', /is not valid in a repository path/],
    [`ghcr.io/${'a'.repeat(700)}=b`, /too long/],
  ];
  for (const [rule, message] of cases)
    assert.throws(() => parseRenameRule(rule), { code: 'usage', message }, rule);
});

test('the rules of a map file are read in order, and its mistakes are reported together', () => {
  const rules = parseNameMap(
    '\uFEFF# names\r\n\r\nredis cache/redis   # the cache\r\nghcr.io/acme/* = acme/*\r\n',
    'map.txt',
  );
  assert.deepEqual(
    rules.map(
      (rule) => rule.apply(parseReference('redis')) ?? rule.apply(parseReference('ghcr.io/acme/api')),
    ),
    ['cache/redis', 'acme/api'],
  );
  assert.throws(() => parseNameMap('a b c\nredis x\nghcr.io/* **\n', 'map.txt'), {
    code: 'usage',
    message: /^read map\.txt: 2 problems\n {2}map\.txt:1: .*\n {2}map\.txt:3: /,
  });
  assert.throws(() => parseNameMap('x\n'.repeat(500), 'm'), /and 450 more$/);
});

test('matching is fast for names that are made to slow it down', () => {
  const source = parseReference(`ghcr.io/${'a/'.repeat(120)}b`);
  assert.equal(parseRenameRule(`ghcr.io/**/${'*/'.repeat(100)}c=x`).apply(source), undefined);
});

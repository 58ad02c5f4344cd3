import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { parseReference } from '../../src/oci/reference.js';
import { mirrorsOf } from '../../src/site/mirrors.js';
import { mapNames, parseSite, type Site } from '../../src/site/names.js';
import { parseRenameRule } from '../../src/site/rename.js';

function mirrors(site: Site, ...references: string[]): string[] {
  const names = mapNames(
    site,
    references.map((reference) => ({
      source: parseReference(reference),
      digest: digestOf(Buffer.from(reference)),
    })),
  );
  return mirrorsOf(site, names).map(
    ({ registry, scope, exact, path }) => `${registry}/${scope}${exact ? '' : '/*'} -> /${path}`,
  );
}

const rules = (...texts: string[]): Site => ({ registry: 'site:5000', rules: texts.map(parseRenameRule) });

test('a registry with a uniform mapping gets one mirror', () => {
  const references = [
    'redis:7',
    'rancher/pause:3.1',
    'ghcr.io/acme/api:1',
    'ghcr.io/acme/web:1',
    'site:5000/own/a:1',
  ];
  assert.deepEqual(mirrors(parseSite('site:5000'), ...references), ['docker.io//* -> /', 'ghcr.io//* -> /']);
  assert.deepEqual(mirrors(parseSite('site:5000/p'), ...references), [
    'docker.io//* -> /p',
    'ghcr.io//* -> /p',
  ]);
  assert.deepEqual(mirrors({ registry: 'site:5000', keepRegistry: true }, ...references), [
    'docker.io//* -> /docker.io',
    'ghcr.io//* -> /ghcr.io',
  ]);
});

test('renamed paths and repositories get their own mirrors, no wider than the rules', () => {
  assert.deepEqual(mirrors(rules('library/*=mirror/*'), 'redis:7', 'nginx:1', 'rancher/pause:1'), [
    'docker.io/library/* -> /mirror',
    'docker.io/rancher/* -> /rancher',
  ]);
  assert.deepEqual(mirrors(rules('library/redis=mirror/redis'), 'redis:7', 'nginx:1', 'rancher/pause:1'), [
    'docker.io/library/nginx -> /library/nginx',
    'docker.io/library/redis -> /mirror/redis',
    'docker.io/rancher/* -> /rancher',
  ]);
  assert.deepEqual(mirrors(rules('rancher/mirrored-*=m/*'), 'rancher/mirrored-pause:1', 'rancher/k3s:1'), [
    'docker.io/rancher/k3s -> /rancher/k3s',
    'docker.io/rancher/mirrored-pause -> /m/pause',
  ]);
  assert.deepEqual(mirrors(rules('ghcr.io/a/b=x'), 'ghcr.io/a/b:1', 'ghcr.io/a/b/c:1', 'ghcr.io/a/d:1'), [
    'ghcr.io/a/b -> /x',
    'ghcr.io/a/b/* -> /a/b',
    'ghcr.io/a/d -> /a/d',
  ]);
});

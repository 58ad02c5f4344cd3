import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandTags } from '../../src/export/expand-tags.js';
import { parseImageLists } from '../../src/lists/read.js';
import { formatReference, formatRepository, type Repository } from '../../src/oci/reference.js';
import { Registry } from '../../src/registry/registry.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';

const held: Record<string, string[]> = {
  'docker.io/rancher/k3s': ['latest', 'v1.30.0-k3s1', 'v1.28.3-k3s1', 'v1.28.3-rc1-k3s1', 'v1.31.0-k3s1'],
  'docker.io/library/redis': ['7', '7.2', '7.4.1', '7.4.1-alpine'],
  'ghcr.io/acme/api': ['v3.0', 'v2.1', 'v3.1'],
};

async function* tags(repository: Repository): AsyncIterable<string> {
  await Promise.resolve();
  yield* held[formatRepository(repository)] ?? [];
}

const names = (list: readonly { reference: Parameters<typeof formatReference>[0] }[]): string[] =>
  list.map(({ reference }) => formatReference(reference));

test('a pattern selects tags for references without a tag', async () => {
  const list = parseImageLists([{ file: 'l', text: 'rancher/k3s\nredis:7\nrancher/k3s:v1.28.3-k3s1\n' }]);
  const expanded = await expandTags(list, { pattern: 'semver:>=1.28 <1.31', tags });
  assert.deepEqual(names(expanded), [
    'docker.io/rancher/k3s:v1.28.3-k3s1',
    'docker.io/rancher/k3s:v1.30.0-k3s1',
    'docker.io/library/redis:7',
  ]);
  assert.deepEqual(
    expanded.map(({ file, line, tagAssumed }) => [file, line, tagAssumed]),
    [
      ['l', 1, false],
      ['l', 1, false],
      ['l', 2, false],
    ],
  );
});

test('the patterns of a list are expanded, with --tags or without', async () => {
  const text = 'ghcr.io:\n  images-by-tag-regex: {acme/api: "^v3"}\ndocker.io:\n  images: {redis: []}\n';
  const list = parseImageLists([{ file: 'sync.yaml', text }], ['a/b']);
  assert.deepEqual(names(await expandTags(list, { tags })), [
    'docker.io/a/b:latest',
    'ghcr.io/acme/api:v3.0',
    'ghcr.io/acme/api:v3.1',
    'docker.io/library/redis:7.2',
    'docker.io/library/redis:7.4.1-alpine',
    'docker.io/library/redis:7.4.1',
    'docker.io/library/redis:7',
  ]);
});

test('the error names every repository without a matching tag', async () => {
  const list = parseImageLists([{ file: 'l', text: 'redis\nghcr.io/acme/api\nghcr.io/none/here\n' }]);
  await assert.rejects(expandTags(list, { pattern: 'semver:>=7', tags }), {
    code: 'not-found',
    message:
      'choose tags: no tag matches\n' +
      '  l:2: none of the 3 tags of ghcr.io/acme/api matches semver:>=7\n' +
      '  l:3: none of the 0 tags of ghcr.io/none/here matches semver:>=7',
  });
});

test('a pattern that no reference needs is rejected, and so is a malformed one', async () => {
  const list = parseImageLists([{ file: 'l', text: 'redis:7\n' }]);
  await assert.rejects(expandTags(list, { pattern: 'all', tags }), { code: 'usage' });
  await assert.rejects(expandTags(list, { pattern: 'v*', tags }), { code: 'usage' });
});

test('tags are listed from a real registry', { skip: needs('docker-registry') }, async (t) => {
  const server = await startDockerRegistry();
  t.after(() => server.stop());
  const image = singlePlatform('linux/amd64', { name: 'tags', platforms: ['linux/amd64'] });
  for (const tag of ['v1.10.0', 'v1.9.0', 'v2.0.0', 'edge'])
    await pushImage(server.host, 'acme/api', tag, image);
  const registry = new Registry({});
  t.after(() => registry.close());
  const list = parseImageLists([], [`${server.host}/acme/api`]);
  const expanded = await expandTags(list, {
    pattern: 'semver:1',
    tags: (repository) => registry.tags(repository),
  });
  assert.deepEqual(names(expanded), [`${server.host}/acme/api:v1.9.0`, `${server.host}/acme/api:v1.10.0`]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { formatReference, parseReference } from '../../src/oci/reference.js';
import { mapNames, parseSite, siteRepository, type NamedImage, type Site } from '../../src/site/names.js';
import { parseRenameRule } from '../../src/site/rename.js';

const digest = (text: string): Digest => digestOf(Buffer.from(text));
const image = (reference: string, content = reference): NamedImage => ({
  source: parseReference(reference),
  digest: digest(content),
});

function mapped(site: Site, ...references: string[]): string[] {
  return mapNames(
    site,
    references.map((reference) => image(reference)),
  ).map(({ site }) => formatReference(site));
}

test('by default the source registry is dropped and the path is kept', () => {
  assert.deepEqual(mapped(parseSite('site:5000'), 'busybox', 'ghcr.io/acme/api:2.1', 'rancher/pause:3.1'), [
    'site:5000/library/busybox:latest',
    'site:5000/acme/api:2.1',
    'site:5000/rancher/pause:3.1',
  ]);
});

test('a prefix comes first, then the registry if it is kept', () => {
  assert.deepEqual(mapped(parseSite('site:5000/team/images/'), 'busybox:1'), [
    'site:5000/team/images/library/busybox:1',
  ]);
  const kept: Site = { registry: 'site:5000', keepRegistry: true };
  assert.deepEqual(
    mapped(
      kept,
      'busybox:1',
      'ghcr.io/acme/api:2',
      'localhost:5001/a:1',
      'MyHost:80/a:1',
      '[fd00::1]:5000/a:1',
    ),
    [
      'site:5000/docker.io/library/busybox:1',
      'site:5000/ghcr.io/acme/api:2',
      'site:5000/localhost_5001/a:1',
      'site:5000/myhost_80/a:1',
      'site:5000/fd00_1_5000/a:1',
    ],
  );
});

test('the first matching rule applies, below the prefix', () => {
  const site: Site = {
    ...parseSite('site:5000/x'),
    keepRegistry: true,
    rules: ['library/redis=cache', 'library/*=mirror/*'].map(parseRenameRule),
  };
  assert.deepEqual(mapped(site, 'redis:7', 'nginx:1', 'quay.io/a/b:1'), [
    'site:5000/x/cache:7',
    'site:5000/x/mirror/nginx:1',
    'site:5000/x/quay.io/a/b:1',
  ]);
});

test('a name by digest only gets no tag, and the published digest', () => {
  const source = parseReference(`ghcr.io/acme/api@${digest('original')}`);
  const [name] = mapNames(parseSite('site:5000'), [{ source, digest: digest('filtered') }]);
  assert.ok(name !== undefined);
  assert.equal(formatReference(name.site), `site:5000/acme/api@${digest('filtered')}`);
});

test('all tags that would get two digests are reported before anything is pushed', () => {
  const site = parseSite('site:5000');
  const images = [
    image('ghcr.io/library/redis:7'),
    image('redis:7'),
    image('quay.io/library/redis:7', 'redis:7'),
    image('ghcr.io/acme/api:1', 'same'),
    image('quay.io/acme/api:1', 'same'),
    image(`ghcr.io/acme/web@${digest('one')}`, 'one'),
    image(`quay.io/acme/web@${digest('two')}`, 'two'),
  ];
  assert.throws(() => mapNames(site, images), {
    code: 'conflict',
    message: new RegExp(
      [
        '^name images at site:5000: 2 tag conflicts',
        `  site:5000/library/redis:7 would be ghcr.io/library/redis:7 \\(${digest('ghcr.io/library/redis:7')}\\) and docker.io/library/redis:7 \\(${digest('redis:7')}\\)`,
        '  site:5000/library/redis:7 would be ghcr.io/.* and quay.io/.*$',
      ].join('\n'),
    ),
    hint: /`keepRegistry`/,
  });
  assert.equal(mapNames({ ...site, keepRegistry: true }, images).length, images.length);
});

test('all names that are invalid at the site are reported', () => {
  const site: Site = {
    registry: 'site:5000',
    rules: ['ghcr.io/*=x//*', 'quay.io/*=x/*-'].map(parseRenameRule),
  };
  assert.throws(() => mapped(site, 'ghcr.io/a', 'redis', 'quay.io/b'), {
    code: 'usage',
    message:
      /2 invalid names\n {2}name ghcr\.io\/a at site:5000: "x\/\/a" is not .*\n {2}name quay\.io\/b at/,
  });
  const long = { ...parseSite('site:5000'), prefix: 'p'.repeat(250) };
  assert.throws(() => siteRepository(long, parseReference('acme/api')), { code: 'usage' });
  const hostile = { registry: '../../etc', repository: 'x', tag: 'y' };
  assert.throws(() => mapNames(site, [{ source: hostile, digest: digest('x') }]), { code: 'usage' });
});

test('the destination is validated', () => {
  assert.deepEqual(parseSite('127.0.0.1:5000'), { registry: '127.0.0.1:5000' });
  assert.deepEqual(parseSite('localhost/a/b/'), { registry: 'localhost', prefix: 'a/b' });
  assert.deepEqual(parseSite('[::1]:5000/a'), { registry: '[::1]:5000', prefix: 'a' });
  for (const [text, message] of [
    ['https://site:5000', /has a scheme/],
    ['site', /without dot or port/],
    ['site:5000/Upper', /not a repository path/],
    ['site:5000/a:1', /not a repository path/],
    ['si te:5000', /not a registry host/],
    ['', /not a registry host/],
  ] as const)
    assert.throws(() => parseSite(text), { code: 'usage', message }, text);
});

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { addressOf, EndpointResolver, type Lookup } from '../../../src/registry/config/endpoint.js';
import { parseMirrorFlag } from '../../../src/registry/config/mirror-rules.js';
import type { MirrorRule } from '../../../src/registry/config/options.js';
import { TlsConfig } from '../../../src/registry/config/tls.js';

function bookOf(rules: readonly MirrorRule[], plainHttp?: boolean, speaksTls = true): EndpointResolver {
  const tls = new TlsConfig({}, {});
  return new EndpointResolver({ plainHttp, rules, tls, supportsTls: () => Promise.resolve(speaksTls) });
}

async function addresses(book: EndpointResolver, name: string, lookup: Lookup = 'tag'): Promise<string[]> {
  const slash = name.indexOf('/');
  const repository = { registry: name.slice(0, slash), repository: name.slice(slash + 1) };
  return (await book.forReading(repository, lookup)).map((endpoint) => addressOf(endpoint, 'x').href);
}

it('uses plain HTTP for loopback, and for other hosts only if requested', async () => {
  assert.deepEqual(await addresses(bookOf([]), '127.0.0.1:5000/a/b'), ['http://127.0.0.1:5000/v2/a/b/x']);
  assert.deepEqual(await addresses(bookOf([]), 'h.test/a'), ['https://h.test/v2/a/x']);
  assert.deepEqual(await addresses(bookOf([], true), 'h.test/a'), ['http://h.test/v2/a/x']);
  assert.deepEqual(await addresses(bookOf([], false), 'localhost:5000/a'), ['https://localhost:5000/v2/a/x']);
  assert.deepEqual(await addresses(bookOf([]), 'docker.io/library/redis'), [
    'https://registry-1.docker.io/v2/library/redis/x',
  ]);
});

it('tries mirrors before the registry, but the registry first for lists', async () => {
  const book = bookOf([
    parseMirrorFlag('docker.io=mirror.corp:5000/hub'),
    parseMirrorFlag('ghcr.io/acme=http://m.test/'),
  ]);
  const upstream = 'https://registry-1.docker.io/v2/library/redis/x';
  const mirror = 'https://mirror.corp:5000/v2/hub/library/redis/x?ns=docker.io';
  assert.deepEqual(await addresses(book, 'docker.io/library/redis'), [mirror, upstream]);
  assert.deepEqual(await addresses(book, 'docker.io/library/redis', 'list'), [upstream, mirror]);
  assert.deepEqual(await addresses(book, 'ghcr.io/acme/app'), [
    'http://m.test/v2/app/x?ns=ghcr.io',
    'https://ghcr.io/v2/acme/app/x',
  ]);
  assert.deepEqual(await addresses(book, 'ghcr.io/acmex/app'), ['https://ghcr.io/v2/acmex/app/x']);
  assert.equal((await book.forWriting({ registry: 'docker.io', repository: 'a' })).isMirror, false);
});

it('prefers the longest prefix, then `*.domain`, then `*`', async () => {
  const rule = (prefix: string, location: string): MirrorRule => ({
    prefix,
    location,
    mirrors: [],
    origin: 'test',
  });
  const book = bookOf([
    rule('*', 'any.test'),
    rule('*.corp', 'wild.test/w'),
    rule('a.corp', 'a.test'),
    rule('a.corp/x/y', 'xy.test/z'),
  ]);
  for (const [name, address] of [
    ['a.corp/x/y/z', 'https://xy.test/v2/z/z/x'],
    ['a.corp/x/y', 'https://xy.test/v2/z/x'],
    ['a.corp/x', 'https://a.test/v2/x/x'],
    ['b.corp:5000/x', 'https://wild.test/v2/w/x/x'],
    ['c.test/x', 'https://any.test/v2/x/x'],
  ] as const)
    assert.deepEqual(await addresses(book, name), [address]);
});

it('refuses access to a blocked repository, for reading and writing', async () => {
  const book = bookOf([{ prefix: 'bad.test', blocked: true, mirrors: [], origin: '/etc/x.conf' }]);
  const name = { registry: 'bad.test', repository: 'a' };
  const refused = { code: 'denied', message: 'access bad.test/a: bad.test is blocked by /etc/x.conf' };
  await assert.rejects(book.forReading(name, 'tag'), refused);
  await assert.rejects(book.forWriting(name), refused);
});

it('uses mirrors only for the requests that they serve', async () => {
  const mirrors = [
    { location: 'd.test', serves: 'digests' as const },
    { location: 't.test', serves: 'tags' as const },
  ];
  const book = bookOf([{ prefix: 'r.test', mirrors, origin: 'test' }]);
  assert.equal((await addresses(book, 'r.test/a', 'tag'))[0], 'https://t.test/v2/a/x?ns=r.test');
  assert.equal((await addresses(book, 'r.test/a', 'digest'))[0], 'https://d.test/v2/a/x?ns=r.test');
});

it('tests whether an insecure registry supports TLS', async () => {
  const rules = [{ prefix: 'r.test', insecure: true, mirrors: [], origin: 'test' }];
  assert.deepEqual(await addresses(bookOf(rules), 'r.test/a'), ['https://r.test/v2/a/x']);
  assert.deepEqual(await addresses(bookOf(rules, undefined, false), 'r.test/a'), ['http://r.test/v2/a/x']);
});

it('parses the --mirror flag, and reports errors in it', () => {
  assert.deepEqual(parseMirrorFlag('*=https://m.test:5000'), {
    prefix: '*',
    mirrors: [{ location: 'm.test:5000', scheme: 'https' }],
    origin: '`mirrors`',
  });
  for (const bad of [
    '',
    'docker.io',
    '=x',
    'docker.io=',
    'a=b=c',
    'docker.io=ftp://x',
    'docker.io=a b',
    'x y=z',
  ])
    assert.throws(() => parseMirrorFlag(bad), { code: 'usage' }, bad);
});

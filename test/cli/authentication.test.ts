import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { multiPlatform, type NamedImage } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const exporter = { user: 'exporter', password: 'go:ds & schön' };
const importer = { user: 'importer', password: 'ca$h%20' };
const web: NamedImage = { repository: 'acme/web', tag: '1', image: multiPlatform({ name: 'auth' }) };
const other: NamedImage = { repository: 'acme/other', tag: '2', image: multiPlatform({ name: 'auth' }) };

const creds = ({ user, password }: typeof exporter, host?: string): string[] => [
  '--creds',
  `${host === undefined ? '' : `${host}=`}${user}:${password}`,
];

async function pushAll(registry: DockerRegistry, access = {}): Promise<void> {
  for (const { repository, tag, image } of [web, other])
    await pushImage(registry.host, repository, tag, image, access);
}

describe('passwords', { skip: needs('docker-registry', 'htpasswd') }, () => {
  let source: DockerRegistry;
  let site: DockerRegistry;
  const { env } = newHome({ after });
  const named = ({ repository, tag }: NamedImage): string => `${source.host}/${repository}:${tag}`;

  before(async () => {
    source = await startDockerRegistry({ htpasswd: exporter });
    site = await startDockerRegistry({ htpasswd: importer });
    await pushAll(source, exporter);
  });
  after(() => Promise.all([source?.stop(), site?.stop()]));

  test('images move between registries with different passwords', async (t) => {
    const bundle = join(temp(t), 'site.tar');
    await airlift(['export', named(web), named(other), '-o', bundle, ...creds(exporter)], { env });
    await airlift(['import', bundle, '--to', site.host, ...creds(importer)], { env });
    for (const { repository, tag = '', image } of [web, other])
      sameContent((await walkRegistry(site.host, repository, tag, importer)).content, await walkImage(image));
  });

  test('each of two registries receives only its own password', async (t) => {
    await pushImage(site.host, 'acme/third', '3', web.image, importer);
    const bundle = join(temp(t), 'both.tar');
    const both = [...creds(importer, site.host), ...creds(exporter, source.host)];
    await airlift(['export', named(web), `${site.host}/acme/third:3`, '-o', bundle, ...both], { env });
    const swapped = [...creds(exporter, site.host), ...creds(importer, source.host)];
    const refused = await airlift(['export', named(web), '-o', `${bundle}.2`, ...swapped], {
      env,
      codes: [1],
    });
    assert.match(refused.stderr, /unauthorized \(401/);
  });

  test('a missing or wrong password: the error names the login command and not the password', async (t) => {
    const bundle = join(temp(t), 'site.tar');
    await airlift(['export', named(web), '-o', bundle, ...creds(exporter)], { env });
    for (const [host, args] of [
      [source.host, ['export', named(web), '-o', `${bundle}.2`]],
      [site.host, ['import', bundle, '--to', site.host]],
    ] as const) {
      for (const flags of [[], creds({ user: importer.user, password: 'wr0ng-pass' })]) {
        const { stdout, stderr } = await airlift([...args, ...flags, '--trace-requests'], {
          env,
          codes: [1],
        });
        assert.match(stderr, /: unauthorized \(401\b.*\)\n {2}hint: airlift login 127\.0\.0\.1:\d+\n/);
        assert.ok(stderr.includes(`airlift login ${host}`));
        for (const secret of ['wr0ng-pass', Buffer.from('importer:wr0ng-pass').toString('base64')])
          assert.ok(!`${stdout}${stderr}`.includes(secret), secret);
      }
    }
  });
});

describe('tokens', { skip: needs('docker-registry', 'openssl') }, () => {
  const users = { [importer.user]: importer.password };
  const { env } = newHome({ after });

  test('anonymous users can export but not import', async (t) => {
    const registry = await startDockerRegistry({ token: { users, anonymous: ['pull'] } });
    t.after(() => registry.stop());
    await pushAll(registry, importer);
    const earlierRequests = registry.tokenRequests.length;
    const bundle = join(temp(t), 'site.tar');
    const images = [web, other].map(({ repository, tag }) => `${registry.host}/${repository}:${tag}`);
    await airlift(['export', ...images, '-o', bundle], { env });
    const reading = registry.tokenRequests.slice(earlierRequests);
    assert.ok(reading.every(({ user }) => user === undefined));
    assert.deepEqual(
      [...new Set(reading.flatMap(({ scopes }) => scopes))].sort(),
      [other, web].map(({ repository }) => `repository:${repository}:pull`),
    );
    // One token per repository in each of three threads.
    assert.ok(reading.length <= 6, `${reading.length} tokens`);

    const refused = await airlift(['import', bundle, '--to', `${registry.host}/site`], { env, codes: [1] });
    assert.match(refused.stderr, /(?:unauthorized \(401|denied \(403).*\n {2}hint: .*airlift login/);
    await airlift(['import', bundle, '--to', `${registry.host}/site`, ...creds(importer)], { env });
    const { content } = await walkRegistry(registry.host, 'site/acme/web', '1', importer);
    sameContent(content, await walkImage(web.image));
  });

  test('one token covers reading and writing a repository, and a second one mounts', async (t) => {
    const registry = await startDockerRegistry({ token: { users } });
    t.after(() => registry.stop());
    await pushAll(registry, importer);
    const bundle = join(temp(t), 'site.tar');
    const images = [web, other].map(({ repository, tag }) => `${registry.host}/${repository}:${tag}`);
    await airlift(['export', ...images, '-o', bundle, ...creds(importer)], { env });
    const earlierRequests = registry.tokenRequests.length;
    await airlift(['import', bundle, '--to', `${registry.host}/site`, '-j', '1', ...creds(importer)], {
      env,
    });
    const writing = registry.tokenRequests
      .slice(earlierRequests)
      .map(({ scopes }) => scopes.toSorted().join(' '));
    const ofBoth = /repository:site\/acme\/other:\S+ repository:site\/acme\/web:\S+$/;
    assert.ok(
      writing.some((scopes) => ofBoth.test(scopes)),
      `no token to mount: ${writing.join('; ')}`,
    );
    assert.equal(new Set(writing).size, writing.length, `the same token twice: ${writing.join('; ')}`);
  });
});

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { startDockerRegistry } from './docker-registry.js';
import { assortment, companionsOf } from './image-sets.js';
import { writeOciLayout } from './oci-layout.js';
import { needs, run } from './peers.js';
import { pushImage } from './push-image.js';
import { askRegistry } from './registry-http.js';
import { temp } from './temp.js';
import { sameContent, walkImage, walkLayout, walkRegistry } from './walk.js';

describe('docker-registry', { skip: needs('docker-registry', 'htpasswd', 'openssl') }, () => {
  test('stores every image of the assortment and returns it byte for byte', async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const images = Object.values(assortment());
    for (const named of [...images, ...images.filter((item) => item.tag === '1').flatMap(companionsOf)]) {
      await pushImage(registry.host, named.repository, named.tag, named.image);
      const { root, content } = await walkRegistry(
        registry.host,
        named.repository,
        named.tag ?? named.image.root.digest,
      );
      assert.deepEqual({ ...root }, { ...named.image.root });
      sameContent(content, await walkImage(named.image));
    }
  });

  test('can require a password, a token or a client certificate, and can be read-only', async (t) => {
    const { artifact } = assortment();
    assert.ok(artifact);
    const names = ['acme/chart', '1', artifact.image] as const;
    const user = { user: 'ann', password: 'secret' };

    const withPassword = await startDockerRegistry({ htpasswd: user });
    t.after(() => withPassword.stop());
    await assert.rejects(pushImage(withPassword.host, ...names), /401/);
    await pushImage(withPassword.host, ...names, user);

    const withToken = await startDockerRegistry({ token: { users: { ann: 'secret' }, anonymous: ['pull'] } });
    t.after(() => withToken.stop());
    await assert.rejects(pushImage(withToken.host, ...names), /401/);
    await pushImage(withToken.host, ...names, user);
    await walkRegistry(withToken.host, 'acme/chart', '1');
    const { token, ...tokenRequest } = withToken.tokenRequests.at(-1) ?? assert.fail();
    assert.match(token ?? '', /^[\w-]+\.[\w-]+\.[\w-]+$/);
    assert.deepEqual(tokenRequest, {
      service: 'registry.test',
      scopes: ['repository:acme/chart:pull'],
      user: undefined,
    });

    const withTls = await startDockerRegistry({ tls: true, clientCa: true });
    t.after(() => withTls.stop());
    await pushImage(withTls.host, ...names, { ca: withTls.ca, client: withTls.client });
    await assert.rejects(askRegistry(withTls.host, { method: 'GET', path: '/v2/' }, { ca: withTls.ca }));

    const readOnly = await startDockerRegistry({ readOnly: true, storage: withPassword.dir });
    t.after(() => readOnly.stop());
    await walkRegistry(readOnly.host, 'acme/chart', '1');
    await assert.rejects(pushImage(readOnly.host, 'acme/other', '1', artifact.image), /405/);
    assert.deepEqual(readdirSync(join(readOnly.dir, 'docker/registry/v2/repositories')), ['acme']);
  });
});

test('skopeo reads the layouts that tests write', { skip: needs('skopeo') }, async (t) => {
  const dir = temp(t);
  const { web, nested, odd, tools } = assortment();
  assert.ok(web && nested && odd && tools);
  const images = [web, nested, odd, tools].map(({ repository, image }) => ({ name: repository, image }));
  await writeOciLayout(join(dir, 'a'), images);
  const walked = await walkLayout(join(dir, 'a'));
  assert.equal(walked.roots.length, 4);
  await run('skopeo', ['copy', '--all', `oci:${dir}/a:acme/tools`, `oci:${dir}/b:acme/tools`]);
  sameContent((await walkLayout(join(dir, 'b'))).content, await walkImage(tools.image));
});

describe('temporary directories', () => {
  temp({ after });
  test('can be created for a whole suite', () => undefined);
});

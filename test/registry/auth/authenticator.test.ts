import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { needs } from '../../support/peers.js';
import { temp } from '../../support/temp.js';
import { testClient } from '../client.js';
import { collect, content, opener, pushImage, smallImage } from '../content.js';
import { readRequest, sendFault, sendJson, startOddServer, type Handler } from '../odd-server.js';

const { descriptor, bytes } = content(randomBytes(5000));

async function authFile(t: TestContext, auths: Record<string, unknown>): Promise<string> {
  const path = join(temp(t), 'config.json');
  await writeFile(path, JSON.stringify({ auths }));
  return path;
}

const basic = (user: string, password: string): string =>
  Buffer.from(`${user}:${password}`).toString('base64');

describe('with docker-registry', { skip: needs('docker-registry', 'htpasswd', 'openssl') }, () => {
  it('authenticates with Basic and looks up the password only once', async (t) => {
    const server = await startDockerRegistry({ htpasswd: { user: 'jane', password: 'pa55:word' } });
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const authFiles = [await authFile(t, { [server.host]: { auth: basic('jane', 'pa55:word') } })];
    const { registry, traces } = testClient(t, { authFiles });
    await pushImage(registry, name, '1', smallImage('basic'));
    assert.equal(traces.filter(({ status }) => status === 401).length, 1);
    for (const options of [{}, { credentials: { username: 'jane', password: 'wrong' } }])
      await assert.rejects(testClient(t, options).registry.resolve({ ...name, tag: '1' }), {
        code: 'unauthorized',
        message: `resolve ${server.host}/a/b:1: unauthorized (401)`,
        hint: `airlift login ${server.host}`,
      });
  });

  it('gets tokens by scope, one per repository and action', async (t) => {
    const server = await startDockerRegistry({ token: { users: { jane: 'pa55word' }, anonymous: ['pull'] } });
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const image = smallImage('token');
    const { registry: jane } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
    await pushImage(jane, name, '1', image);
    const other = { ...name, repository: 'c/d' };
    const { layer } = image;
    assert.equal(
      await jane.push(other, layer.descriptor, opener(layer.bytes), { mountFrom: name }),
      'mounted',
    );
    assert.deepEqual(
      server.tokenRequests.map(({ scopes, user }) => [user, ...scopes]),
      [
        ['jane', 'repository:a/b:pull,push'],
        ['jane', 'repository:a/b:pull,push', 'repository:c/d:pull,push'],
      ],
    );
    const { registry: anybody } = testClient(t);
    assert.deepEqual(await anybody.resolve({ ...name, tag: '1' }), image.index.descriptor);
    await assert.rejects(anybody.push(name, descriptor, opener(bytes)), { code: 'unauthorized' });
    await assert.rejects(
      testClient(t, { credentials: { username: 'jane', password: 'no' } }).registry.resolve({
        ...name,
        tag: '1',
      }),
      {
        code: 'unauthorized',
        message: /: get a token from 127\.0\.0\.1:\d+: unauthorized \(401\): wrong user or password$/,
      },
    );
  });

  it('gets a new token when one expires during a transfer', async (t) => {
    const server = await startDockerRegistry({ token: { users: { jane: 'pa55word' }, expiresIn: 1 } });
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const { registry } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
    await registry.push(name, descriptor, opener(bytes));
    // The registry's own clock ends the token, which is good for one second.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
    assert.equal(server.tokenRequests.length, 2);
  });
});

interface OddAuth {
  readonly handler: Handler;
  readonly issued: string[];
  readonly forms: URLSearchParams[];
}

/** A registry with its token service under /token. A token is valid for `uses` requests. */
function oddAuth(
  host: () => string,
  tokenResponse: (token: string) => unknown,
  uses = Infinity,
  error = '',
): OddAuth {
  const issued: string[] = [];
  const forms: URLSearchParams[] = [];
  let used = 0;
  const handler: Handler = (request, response, url) => {
    if (url.pathname === '/token') {
      void readRequest(request).then((body) => {
        forms.push(new URLSearchParams(request.method === 'POST' ? body.toString() : url.search));
        issued.push(`t0ken-${issued.length + 1}`);
        used = 0;
        sendJson(response, 200, tokenResponse(issued.at(-1) ?? ''));
      });
      return;
    }
    if (request.headers.authorization === `Bearer ${issued.at(-1)}` && used++ < uses) response.end(bytes);
    else {
      const challenge = `Basic realm="x", Bearer realm="http://${host()}/token",service="s",scope="repository:other:pull"${error}`;
      response
        .writeHead(error === '' ? 401 : issued.length === 0 ? 401 : 403, { 'www-authenticate': challenge })
        .end();
    }
  };
  return { handler, issued, forms };
}

async function startOddAuth(
  t: TestContext,
  ...settings: [(token: string) => unknown, number?, string?]
): Promise<OddAuth & { name: { registry: string; repository: string } }> {
  const at = { host: '' };
  const auth = oddAuth(() => at.host, ...settings);
  at.host = (await startOddServer(t, auth.handler)).host;
  return { ...auth, name: { registry: at.host, repository: 'a' } };
}

describe('with odd token services', () => {
  it('prefers Bearer to Basic, reads `access_token`, and requests the demanded scope', async (t) => {
    const { name, forms } = await startOddAuth(t, (token) => ({ access_token: token }));
    const { registry } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
    await collect(await registry.fetch(name, descriptor));
    await collect(await registry.fetch(name, descriptor));
    assert.deepEqual(
      forms.map((form) => form.toString()),
      [
        new URLSearchParams([
          ['service', 's'],
          ['scope', 'repository:a:pull'],
          ['scope', 'repository:other:pull'],
        ]).toString(),
      ],
    );
  });

  it('replaces a token that is rejected before it expires', async (t) => {
    const { name, issued } = await startOddAuth(t, (token) => ({ token, expires_in: 3600 }), 2);
    const { registry } = testClient(t);
    for (let i = 0; i < 5; i++)
      assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
    assert.equal(issued.length, 3);
  });

  it('replaces a token whose scope is too small (insufficient_scope)', async (t) => {
    const { name, issued } = await startOddAuth(t, (token) => ({ token }), 1, ',error="insufficient_scope"');
    const { registry } = testClient(t);
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
    assert.equal(issued.length, 2);
  });

  it('computes the lifetime from the time of issue, by the clock of the service', async (t) => {
    const old = new Date(Date.now() - 3_600_000).toISOString();
    for (const [lifetime, tokens] of [
      [3000, 3],
      [7200, 1],
    ] as const) {
      const { name, issued } = await startOddAuth(t, (token) => ({
        token,
        expires_in: lifetime,
        issued_at: old,
      }));
      const { registry } = testClient(t);
      for (let i = 0; i < 3; i++) await collect(await registry.fetch(name, descriptor));
      assert.equal(issued.length, tokens);
    }
  });

  it('requests one token for many concurrent requests', async (t) => {
    const { name, issued } = await startOddAuth(t, (token) => ({ token }));
    const { registry } = testClient(t);
    const all = Array.from({ length: 8 }, async () => collect(await registry.fetch(name, descriptor)));
    for (const got of await Promise.all(all)) assert.deepEqual(got, bytes);
    assert.equal(issued.length, 1);
  });

  it('exchanges an identity token by POST, and uses a renewed one', async (t) => {
    const { name, forms } = await startOddAuth(t, (token) => ({
      access_token: token,
      refresh_token: 'refresh-2',
      issued_at: new Date(0).toISOString(),
    }));
    const authFiles = [
      await authFile(t, { [name.registry]: { auth: basic('x', ''), identitytoken: 'refresh-1' } }),
    ];
    const { registry } = testClient(t, { authFiles });
    for (let i = 0; i < 2; i++) await collect(await registry.fetch(name, descriptor));
    assert.deepEqual(
      forms.map((form) => [
        form.get('grant_type'),
        form.get('service'),
        form.get('refresh_token'),
        form.get('scope'),
      ]),
      [
        ['refresh_token', 's', 'refresh-1', 'repository:a:pull repository:other:pull'],
        ['refresh_token', 's', 'refresh-2', 'repository:a:pull repository:other:pull'],
      ],
    );
  });

  it('gives up after repeated challenges', async (t) => {
    const { name, issued } = await startOddAuth(t, (token) => ({ token }), 0);
    await assert.rejects(testClient(t).registry.fetch(name, descriptor), { code: 'unauthorized' });
    assert.equal(issued.length, 2);
  });

  it('rejects responses without a token, and tokens that are not valid in a header', async (t) => {
    for (const body of [{}, [], { token: '' }, { token: 'a\r\nx: y' }, { token: 5 }]) {
      const { name } = await startOddAuth(t, () => body);
      await assert.rejects(testClient(t).registry.fetch(name, descriptor), { code: 'registry' });
    }
  });

  it('reports the error of a token service in the OAuth2 form', async (t) => {
    const server = await startOddServer(t, (_request, response, url) => {
      if (url.pathname === '/token')
        sendJson(response, 400, { error: 'invalid_grant', error_description: 'too old' });
      else
        response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${server.host}/token"` }).end();
    });
    await assert.rejects(
      testClient(t).registry.fetch({ registry: server.host, repository: 'a' }, descriptor),
      {
        code: 'registry',
        message:
          /: get a token from [\d.:]+: the registry rejected the request \(400 invalid_grant\): too old$/,
      },
    );
  });

  it('rejects a token service without TLS on another host, and a missing one', async (t) => {
    for (const realm of ['file:///x', '', 'nonsense']) {
      const server = await startOddServer(t, (_request, response) => {
        response.setHeader('www-authenticate', `Bearer realm="${realm}"`);
        sendFault(response, 401, 'UNAUTHORIZED');
      });
      await assert.rejects(
        testClient(t).registry.fetch({ registry: server.host, repository: 'a' }, descriptor),
        {
          code: 'registry',
        },
      );
    }
  });
});

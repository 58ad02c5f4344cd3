import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import { isDirect } from '../../../src/registry/http/proxy.js';
import { issueCertificate, makeAuthority } from '../../support/certificates.js';
import { startForwardProxy, type ForwardProxy } from '../../support/forward-proxy.js';
import { needs } from '../../support/peers.js';
import { temp } from '../../support/temp.js';
import { testClient } from '../client.js';
import { collect, content, opener } from '../content.js';
import { readRequest, startOddServer } from '../odd-server.js';

const { descriptor, bytes } = content('through a proxy');

/** A forward proxy that sends every request to `target`. */
function startProxy(t: TestContext, target: () => string, password?: string): Promise<ForwardProxy> {
  const credentials = password === undefined ? undefined : { user: 'u', password };
  return startForwardProxy(t, { targetOf: target, credentials });
}

const name = { registry: 'registry.test', repository: 'a' };

it('requests plain HTTP with the absolute URL', async (t) => {
  const bodies: Buffer[] = [];
  const server = await startOddServer(t, (request, response) => {
    if (request.method === 'POST') response.writeHead(202, { location: '/up?x=1' }).end();
    else if (request.method === 'GET') response.end(bytes);
    else
      void readRequest(request).then((body) => {
        bodies.push(body);
        response.writeHead(201).end();
      });
  });
  const proxy = await startProxy(t, () => server.host, 'pr0xy pass');
  const http = `http://u:pr0xy%20pass@${proxy.host}`;
  const { registry, traces } = testClient(t, { plainHttp: true, proxy: { http } });
  assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
  await registry.push(name, descriptor, opener(bytes));
  assert.deepEqual(bodies, [bytes]);
  assert.equal(proxy.seen[0], `GET http://registry.test/v2/a/blobs/${descriptor.digest}`);
  assert.equal(server.seen[0]?.headers['host'], 'registry.test');
  assert.equal(server.seen[0].headers['proxy-authorization'], undefined);
  assert.doesNotMatch(JSON.stringify(traces), /pr0xy|dTpwcjB4/);
});

it('reports a proxy that requires a password, cannot be reached or refuses', async (t) => {
  const proxy = await startProxy(t, () => '127.0.0.1:1', 'secret');
  for (const plainHttp of [true, false]) {
    const both = { http: `http://${proxy.host}`, https: proxy.host };
    await assert.rejects(testClient(t, { plainHttp, proxy: both }).registry.fetch(name, descriptor), {
      code: 'unauthorized',
      message: `fetch blob ${descriptor.digest} of registry.test/a: proxy ${proxy.host} requires a valid password (407)`,
    });
  }
  const gone = await startProxy(t, () => '');
  await assert.rejects(
    testClient(t, { proxy: { https: gone.host.replace(/\d+$/, '1') } }).registry.fetch(name, descriptor),
    { code: 'network', message: /: proxy 127\.0\.0\.1:1 cannot be reached: / },
  );
});

it('rejects addresses that are not HTTP proxies, without showing the password', () => {
  for (const http of ['socks5://u:c0nfidential@x', 'http://u:c0nfidential@:x'])
    assert.throws(
      () => testClient({ after: () => undefined }, { proxy: { http } }),
      (error: Error & { code: string }) => error.code === 'usage' && !/c0nfidential/.test(error.message),
    );
});

describe('TLS through a proxy', { skip: needs('openssl') }, () => {
  it('uses a tunnel', async (t) => {
    const dir = temp(t);
    const authority = await makeAuthority(dir);
    const pair = await issueCertificate(dir, authority, 'server', ['registry.test']);
    const server = await startOddServer(t, (_request, response) => response.end(bytes), {
      cert: await readFile(pair.cert),
      key: await readFile(pair.key),
    });
    const proxy = await startProxy(t, () => server.host, 'secret');
    const { registry } = testClient(t, {
      caFile: authority.cert,
      proxy: { https: `u:secret@${proxy.host}` },
    });
    assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
    assert.deepEqual(proxy.seen, ['CONNECT registry.test:443']);
    assert.equal(server.seen[0]?.headers['proxy-authorization'], undefined);
  });
});

it('matches the entries of NO_PROXY', () => {
  const list = 'corp, .sub.test ,10.0.0.0/8,192.168.1.5,[fd00::]/8,port.test:5000,*.star.test';
  for (const [host, direct] of [
    ['corp', true],
    ['reg.corp:5000', true],
    ['notcorp', false],
    ['sub.test', false],
    ['x.sub.test', true],
    ['10.255.0.1:5000', true],
    ['11.0.0.1', false],
    ['192.168.1.5', true],
    ['192.168.1.50', false],
    ['port.test:5000', true],
    ['port.test', false],
    ['x.star.test', true],
    ['star.test', false],
    ['localhost:5000', true],
    ['127.1.2.3', true],
    ['[::1]:5000', true],
    ['docker.io', false],
  ] as const)
    assert.equal(isDirect(new URL(`https://${host}/`), list), direct, host);
  assert.equal(isDirect(new URL('https://docker.io/'), '*'), true);
  assert.equal(isDirect(new URL('https://[fd00::1]/'), 'fd00::/8'), true);
});

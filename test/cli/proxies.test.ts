import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { issueCertificate, makeAuthority } from '../support/certificates.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { startForwardProxy } from '../support/forward-proxy.js';
import { newHome } from '../support/home.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const image = multiPlatform({ name: 'far' });
const credentials = { user: 'cl@rk', password: 'pr0xy:päss/word' };
/** The same, percent-encoded for URLs. */
const written = `${encodeURIComponent(credentials.user)}:${encodeURIComponent(credentials.password)}`;
const secrets = [
  credentials.password,
  encodeURIComponent(credentials.password),
  Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64'),
];

describe('forward proxies', { skip: needs('docker-registry', 'openssl') }, () => {
  /** Plain HTTP; only the proxy resolves its name `source.test`. */
  let source: DockerRegistry;
  /** TLS; only the proxy resolves its name `site.test`. */
  let site: DockerRegistry;
  const { env } = newHome({ after });
  const targetOf = (host: string): string | undefined =>
    ({ 'source.test': source.host, 'site.test:443': site.host })[host];

  before(async () => {
    source = await startDockerRegistry();
    site = await startDockerRegistry({ tls: true, tlsNames: ['site.test', 'IP:127.0.0.1'] });
    await pushImage(source.host, 'acme/far', '1', image);
  });
  after(() => Promise.all([source?.stop(), site?.stop()]));

  test('plain HTTP uses absolute URLs, TLS uses CONNECT, and the proxy’s password is never printed', async (t) => {
    const proxy = await startForwardProxy(t, { targetOf, credentials });
    const address = `http://${written}@${proxy.host}`;
    const through = { ...env, HTTP_PROXY: address, https_proxy: address };
    const bundle = join(temp(t), 'site.tar');
    const results = [
      await airlift(['export', 'source.test/acme/far:1', '-o', bundle, '--plain-http', '--trace-requests'], {
        env: through,
      }),
    ];
    assert.ok(proxy.seen.length > 0);
    for (const line of proxy.seen) assert.match(line, /^(?:GET|HEAD) http:\/\/source\.test\/v2\//);
    proxy.seen.length = 0;
    results.push(
      await airlift(['import', bundle, '--to', 'site.test', '--ca-file', site.ca ?? '', '--trace-requests'], {
        env: through,
      }),
    );
    assert.deepEqual([...new Set(proxy.seen)], ['CONNECT site.test:443']);
    sameContent(
      (await walkRegistry(site.host, 'acme/far', '1', { ca: site.ca })).content,
      await walkImage(image),
    );
    for (const { stdout, stderr } of results)
      for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), secret);
  });

  test('errors name a proxy that rejects the password or the host', async (t) => {
    const proxy = await startForwardProxy(t, { targetOf, credentials });
    for (const [address, flags, want] of [
      [
        `http://u:wr0ng-one@${proxy.host}`,
        ['--plain-http'],
        /proxy 127\.0\.0\.1:\d+ requires a valid password \(407\)\n {2}hint: put the password into the proxy's address/,
      ],
      [
        `http://u:wr0ng-one@${proxy.host}`,
        [],
        /proxy 127\.0\.0\.1:\d+ requires a valid password \(407\)\n {2}hint: put the password into the proxy's address/,
      ],
      [
        `http://${written}@${proxy.host}`,
        [],
        /proxy 127\.0\.0\.1:\d+ refused the connection \(502\)\n {2}hint: to reach a host without the proxy, add it to NO_PROXY/,
      ],
      ['http://u:wr0ng-one@127.0.0.1:1', [], /proxy 127\.0\.0\.1:1 cannot be reached/],
      ['socks5://u:wr0ng-one@127.0.0.1:1', [], /socks5: proxies are not supported/],
    ] as const) {
      const args = [
        'export',
        'nowhere.test/acme/far:1',
        '-o',
        join(temp(t), 'a.tar'),
        '--retries',
        '0',
        ...flags,
      ];
      const proxies = { HTTP_PROXY: address, HTTPS_PROXY: address };
      const { stdout, stderr } = await airlift(args, { env: { ...env, ...proxies }, codes: [1, 2] });
      assert.match(stderr, want);
      for (const secret of [...secrets, 'wr0ng-one'])
        assert.ok(!`${stdout}${stderr}`.includes(secret), secret);
    }
  });

  test('a proxy over TLS', async (t) => {
    const dir = temp(t);
    const authority = await makeAuthority(dir, 'proxies');
    const tls = await issueCertificate(dir, authority, 'proxy');
    const proxy = await startForwardProxy(t, { targetOf, credentials, tls });
    const address = `https://${written}@${proxy.host}`;
    const through = { ...env, HTTP_PROXY: address, HTTPS_PROXY: address };
    const both = join(dir, 'both.pem');
    writeFileSync(both, [authority.cert, site.ca ?? ''].map((path) => readFileSync(path, 'utf8')).join(''));
    const bundle = join(dir, 'site.tar');
    const name = 'source.test/acme/far:1';
    const exporting = ['export', name, '-o', bundle, '--plain-http', '--retries', '0'];
    const untrusted = await airlift(exporting, { env: through, codes: [1] });
    assert.match(untrusted.stderr, /certificate "proxy".* issued by "airlift test proxies"/);
    await airlift([...exporting, '--ca-file', both], { env: through });
    assert.ok(proxy.seen.every((line) => / http:\/\/source\.test\/v2\//.test(line)));
    proxy.seen.length = 0;
    const importing = ['import', bundle, '--to', 'site.test/tls', '--retries', '0'];
    const refused = await airlift(importing, { env: through, codes: [1] });
    assert.match(refused.stderr, /certificate "proxy" of 127\.0\.0\.1:\d+, issued by "airlift test proxies"/);
    await airlift([...importing, '--ca-file', both], { env: through });
    assert.deepEqual([...new Set(proxy.seen)], ['CONNECT site.test:443']);
    const { content } = await walkRegistry(site.host, 'tls/acme/far', '1', { ca: site.ca });
    sameContent(content, await walkImage(image));
  });

  test('NO_PROXY hosts and loopback bypass the proxy', async (t) => {
    const proxy = await startForwardProxy(t, { targetOf });
    const proxies = {
      HTTP_PROXY: proxy.host,
      HTTPS_PROXY: proxy.host,
      no_proxy: 'other.test,.source.test,source.test',
    };
    const output = (): string => join(temp(t), 'a.tar');
    const plain = ['--plain-http', '--retries', '0'];
    await airlift(['export', `${source.host}/acme/far:1`, '-o', output()], { env: { ...env, ...proxies } });
    const refused = await airlift(['export', 'source.test/acme/far:1', '-o', output(), ...plain], {
      env: { ...env, ...proxies },
      codes: [1],
    });
    assert.match(refused.stderr, /source\.test/);
    assert.deepEqual(proxy.seen, []);
  });
});

import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it, after, type TestContext } from 'node:test';
import { issueCertificate, makeAuthority, type KeyPair } from '../../support/certificates.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { needs, run } from '../../support/peers.js';
import { temp } from '../../support/temp.js';
import { testClient } from '../client.js';
import { opener, pushImage, smallImage } from '../content.js';
import { startOddServer, type OddServer } from '../odd-server.js';

const image = smallImage('tls');

describe('TLS', { skip: needs('openssl', 'docker-registry') }, () => {
  const dir = temp({ after });
  let authority: KeyPair;
  before(async () => {
    authority = await makeAuthority(dir);
  });

  async function start(t: TestContext, pair: KeyPair): Promise<OddServer> {
    const [cert, key] = await Promise.all([readFile(pair.cert), readFile(pair.key)]);
    return startOddServer(t, (_request, response) => response.writeHead(404).end(), { cert, key });
  }

  const ask = (t: TestContext, host: string, options: object): Promise<unknown> =>
    testClient(t, { plainHttp: false, ...options }).registry.resolve({
      registry: host,
      repository: 'a',
      tag: 'b',
    });

  it('reads authorities from a file and from certs.d, which enables TLS for loopback', async (t) => {
    const server = await startDockerRegistry({ tls: true });
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const certsDirs = [join(temp(t), 'empty'), temp(t)];
    await mkdir(join(certsDirs[1] ?? '', server.host));
    await copyFile(server.ca ?? '', join(certsDirs[1] ?? '', server.host, 'ca.crt'));
    for (const options of [
      { caFile: server.ca, plainHttp: false },
      { certsDirs },
      { insecureSkipTlsVerify: true, plainHttp: false },
    ]) {
      const { registry, traces } = testClient(t, options);
      await pushImage(registry, name, '1', image);
      assert.match(traces[0]?.url ?? '', /^https:/);
    }
  });

  it('presents a client certificate', async (t) => {
    const server = await startDockerRegistry({ tls: true, clientCa: true });
    t.after(() => server.stop());
    const name = { registry: server.host, repository: 'a/b' };
    const certDir = temp(t);
    await copyFile(server.ca ?? '', join(certDir, 'ca.crt'));
    await assert.rejects(ask(t, server.host, { certDir }), {
      code: 'tls',
      message: /requires a client certificate or rejects the given one$/,
      hint: /client\.cert and client\.key/,
    });
    await copyFile(server.client?.cert ?? '', join(certDir, 'client.cert'));
    await assert.rejects(ask(t, server.host, { certDir }), {
      code: 'input',
      hint: 'add client.key to the directory',
    });
    await copyFile(server.client?.key ?? '', join(certDir, 'client.key'));
    await pushImage(testClient(t, { certDir, plainHttp: false }).registry, name, '1', image);
    const hosts = {
      [server.host]: { caFile: server.ca, certFile: server.client?.cert, keyFile: server.client?.key },
    };
    await testClient(t, { hosts }).registry.resolve({ ...name, tag: '1' });
  });

  it('names the untrusted authority', async (t) => {
    const server = await start(t, await issueCertificate(dir, authority, 'srv'));
    await assert.rejects(ask(t, server.host, {}), {
      code: 'tls',
      message: new RegExp(
        `^resolve ${server.host}/a:b: certificate "srv" of ${server.host}, issued by "airlift test authority" for ` +
          '127\\.0\\.0\\.1, localhost, is signed by the untrusted authority "airlift test authority"; sha256 fingerprint [0-9A-F:]{95}$',
      ),
      hint: `pass the certificate of "airlift test authority" as a PEM file with \`caFile\`, or put it at /etc/docker/certs.d/${server.host}/ca.crt`,
    });
    assert.deepEqual(server.seen, []);
  });

  it('reports a self-signed certificate', async (t) => {
    const server = await start(t, authority);
    await assert.rejects(ask(t, server.host, {}), {
      code: 'tls',
      message: /"airlift test authority".* is self-signed and not trusted/,
    });
  });

  it('reports the names of a certificate for another host', async (t) => {
    const server = await start(
      t,
      await issueCertificate(dir, authority, 'elsewhere', ['reg.corp', 'IP:10.1.2.3']),
    );
    await assert.rejects(ask(t, server.host, { caFile: authority.cert }), {
      code: 'tls',
      message: /is for other names; got reg\.corp, 10\.1\.2\.3, want 127\.0\.0\.1$/,
    });
  });

  it('reports when a certificate expired', async (t) => {
    const pair = { cert: join(dir, 'old.pem'), key: join(dir, 'old.key') };
    const request = join(dir, 'old.csr');
    const names = ['-subj', '/CN=old', '-addext', 'subjectAltName=IP:127.0.0.1'];
    await run('openssl', [
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      ...names,
      '-keyout',
      pair.key,
      '-out',
      request,
    ]);
    await run('openssl', [
      ...['x509', '-req', '-in', request, '-signkey', pair.key, '-days', '-1'],
      ...['-copy_extensions', 'copy', '-out', pair.cert],
    ]);
    const server = await start(t, pair);
    await assert.rejects(ask(t, server.host, { caFile: pair.cert }), {
      code: 'tls',
      message:
        /certificate "old" of [\d.:]+, issued by "old", expired on \w{3} .* GMT; this machine's clock says .* GMT$/,
      hint: /clock/,
    });
  });

  it('reports errors in certificate files', async (t) => {
    const der = join(dir, 'ca.der');
    await writeFile(der, 'not pem');
    const torn = join(dir, 'torn.pem');
    await writeFile(torn, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    const server = await start(t, await issueCertificate(dir, authority, 'files'));
    await assert.rejects(ask(t, server.host, { caFile: join(dir, 'none.pem') }), { code: 'io' });
    await assert.rejects(ask(t, server.host, { caFile: der }), {
      code: 'input',
      hint: /openssl x509 -inform der/,
    });
    await assert.rejects(ask(t, server.host, { caFile: torn }), { code: 'input', message: /torn\.pem/ });
  });

  it('names the option if a TLS server gets a request in plain HTTP', async (t) => {
    const server = await startDockerRegistry({ tls: true });
    t.after(() => server.stop());
    await assert.rejects(ask(t, server.host, { plainHttp: true }), {
      hint: 'the registry requires TLS: pass `plainHttp: false`',
    });
  });

  it('does not follow a redirect from TLS to plain HTTP, and keeps uploads on TLS', async (t) => {
    const pair = await issueCertificate(dir, authority, 'down');
    const plain = await startOddServer(t, (_request, response) => response.end());
    const server = await startOddServer(
      t,
      (request, response) => {
        if (request.method === 'POST')
          response.writeHead(202, { location: `http://${server.host}/up/1?a=1` }).end();
        else if (request.method === 'PUT') {
          request.resume();
          request.on('end', () => response.writeHead(201).end());
        } else response.writeHead(302, { location: `http://${plain.host}/` }).end();
      },
      { cert: await readFile(pair.cert), key: await readFile(pair.key) },
    );
    const options = { caFile: authority.cert };
    await assert.rejects(ask(t, server.host, options), {
      code: 'registry',
      message: /redirected from HTTPS to plain HTTP at http:\/\/[\d.:]+\/, which is not followed$/,
    });
    assert.deepEqual(plain.seen, []);
    const { registry } = testClient(t, { ...options, plainHttp: false });
    const { layer } = image;
    const name = { registry: server.host, repository: 'a' };
    assert.equal(await registry.push(name, layer.descriptor, opener(layer.bytes)), 'uploaded');
    assert.match(server.seen.at(-1)?.url ?? '', /^\/up\/1\?a=1&digest=sha256/);
  });
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { appendFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isAirliftError, type AirliftError } from '../../src/errors.js';
import type { RequestEntry } from '../../src/registry-server/call.js';
import { PasswordFile } from '../../src/serve/htpasswd.js';
import { serve, type ServeOptions, type Serving } from '../../src/serve/serve.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { issueCertificate, makeAuthority, type KeyPair } from '../support/certificates.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

const limit = { timeout: 90_000 };
const needsOpenssl = { ...limit, skip: needs('openssl') };
const needsHtpasswd = { ...limit, skip: needs('htpasswd') };

async function started(t: TestContext, options: ServeOptions): Promise<Serving> {
  const path = join(temp(t), 'site.tar');
  const image = singlePlatform('linux/amd64', { name: 'api' });
  await writeBundle(path, [{ reference: 'docker.io/acme/api:1', image }]);
  const serving = await serve({ inputs: [path] }, { port: 0, ...options });
  t.after(() => serving.close());
  return serving;
}

async function certificates(t: TestContext): Promise<{ dir: string; ca: KeyPair; server: KeyPair }> {
  const dir = temp(t);
  const ca = await makeAuthority(dir);
  return { dir, ca, server: await issueCertificate(dir, ca, 'server') };
}

/** Returns the status of a GET over HTTPS. */
async function statusOverTls(url: string, ca?: string): Promise<number> {
  const sent = request(url, { ca: ca === undefined ? undefined : readFileSync(ca), agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [{ statusCode: number; resume(): void }];
  response.resume();
  return response.statusCode;
}

test(
  'HTTPS is served with a certificate, and a client that does not trust it is reported',
  needsOpenssl,
  async (t) => {
    const { dir, ca, server } = await certificates(t);
    const errors: AirliftError[] = [];
    const serving = await started(t, { tls: server, onError: (error) => errors.push(error) });
    assert.match(serving.url, /^https:/);
    assert.deepEqual(serving.certificateNames, ['127.0.0.1', 'localhost']);
    assert.equal(serving.authority, undefined);
    assert.equal(await statusOverTls(`${serving.url}/v2/acme/api/manifests/1`, ca.cert), 200);
    await assert.rejects(statusOverTls(`${serving.url}/v2/`), /self-signed|unable to/);
    await assert.rejects(fetch(`http://127.0.0.1:${serving.port}/v2/`));
    const other = await makeAuthority(dir, 'other');
    const address = `127.0.0.1:${serving.port}`;
    const client = ['s_client', '-connect', address, '-CAfile', other.cert, '-verify_return_error'];
    await assert.rejects(run('openssl', client));
    await until('the handshake is reported', () => errors.length > 0);
    assert.equal(errors[0]?.code, 'tls');
    assert.match(
      errors[0]?.message ?? '',
      /^TLS handshake with a client: (?:unknown ca|certificate unknown)/,
    );
  },
);

test('the authority is known where the file of the certificate contains it', needsOpenssl, async (t) => {
  const { dir, ca, server } = await certificates(t);
  const cert = join(dir, 'chain.pem');
  await writeFile(cert, readFileSync(server.cert, 'utf8') + readFileSync(ca.cert, 'utf8'));
  const serving = await started(t, { tls: { cert, key: server.key } });
  assert.equal(serving.authority?.trim(), readFileSync(ca.cert, 'utf8').trim());
});

test('connections without a handshake count as idle and end with the server', needsOpenssl, async (t) => {
  const { ca, server } = await certificates(t);
  const serving = await started(t, { tls: server, limits: { idleOfClient: 5 } });
  const sockets: Socket[] = [];
  for (let count = 0; count < 20; count++) {
    const socket = connect(serving.port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    sockets.push(socket);
  }
  await until('15 connections are closed', () => sockets.filter(({ destroyed }) => destroyed).length >= 15);
  assert.equal(await statusOverTls(`${serving.url}/v2/`, ca.cert), 200);
  await serving.close();
  await until('all connections are closed', () => sockets.every(({ destroyed }) => destroyed));
});

test(
  'a wrong certificate or key is an error that names the file, before anything is served',
  needsOpenssl,
  async (t) => {
    const { dir, ca, server } = await certificates(t);
    const locked = join(dir, 'locked.key');
    await run('openssl', ['pkey', '-aes128', '-passout', 'pass:x', '-in', server.key, '-out', locked]);
    const text = join(dir, 'text');
    await writeFile(text, 'no PEM');
    const wrong: [KeyPair, RegExp][] = [
      [
        { cert: server.cert, key: ca.key },
        /authority\.key: does not belong to the certificate .*server\.pem/,
      ],
      [{ cert: server.cert, key: locked }, /locked\.key: encrypted with a passphrase/],
      [{ cert: server.cert, key: text }, /text: contains no private key/],
      [{ cert: text, key: server.key }, /text: contains no certificate/],
      [{ cert: join(dir, 'none'), key: server.key }, /none: no such file/],
    ];
    for (const [tls, message] of wrong)
      await assert.rejects(serve({ store: join(dir, 'store') }, { port: 0, tls }), message);
  },
);

async function passwordFile(t: TestContext, cost: number): Promise<string> {
  const path = join(temp(t), 'users');
  await writeFile(path, (await run('htpasswd', ['-Bbn', '-C', String(cost), 'joe', 'sesame'])).stdout);
  return path;
}

function login(user: string, password: string): { headers: { Authorization: string } } {
  const encoded = Buffer.from(`${user}:${password}`).toString('base64');
  return { headers: { Authorization: `Basic ${encoded}` } };
}

test('a login is required for every path, and checked once for many requests', needsHtpasswd, async (t) => {
  // A check takes about half a second: a thousand would exceed the time limit of the test.
  const path = await passwordFile(t, 12);
  const entries: RequestEntry[] = [];
  const serving = await started(t, { passwordFile: path, onRequest: (entry) => entries.push(entry) });
  for (const target of ['/v2/', '/v2/acme/api/manifests/1', '/metrics', '/nowhere']) {
    const response = await fetch(serving.url + target);
    assert.equal(response.status, 401);
    assert.equal(response.headers.get('www-authenticate'), 'Basic realm="airlift"');
    assert.match(await response.text(), /"code":"UNAUTHORIZED"/);
  }
  const url = `${serving.url}/v2/acme/api/manifests/1`;
  for (const refused of [login('joe', 'wrong'), login('ann', 'sesame'), login('', 'sesame')])
    assert.equal((await fetch(url, refused)).status, 401);
  for (const header of ['Basic', 'Basic !!!', 'Bearer x', `Basic ${Buffer.from('joe').toString('base64')}`])
    assert.equal((await fetch(url, { headers: { Authorization: header } })).status, 401);
  const statuses = await Promise.all(
    Array.from({ length: 1000 }, async () => (await fetch(url, login('joe', 'sesame'))).status),
  );
  assert.deepEqual(new Set(statuses), new Set([200]));
  assert.equal(entries.filter(({ user }) => user === 'joe').length, 1000);
  assert.ok(!JSON.stringify(entries).includes('sesame'));
  const metrics = await (await fetch(`${serving.url}/metrics`, login('joe', 'sesame'))).text();
  assert.match(metrics, /^airlift_logins_total\{result="accepted"\} 1001$/m);
  assert.match(metrics, /^airlift_logins_total\{result="refused"\} 11$/m);
});

test(
  'too many different logins at a time are turned away, and a known one is answered',
  needsHtpasswd,
  async (t) => {
    const logins = await PasswordFile.open(await passwordFile(t, 8), assert.ifError);
    const check = (password: string): ReturnType<PasswordFile['check']> =>
      logins.check(login('joe', password).headers.Authorization);
    assert.deepEqual(await check('sesame'), { user: 'joe' });
    const guesses = Array.from({ length: 200 }, (_, at) => check(`${at}`));
    assert.deepEqual(await check('sesame'), { user: 'joe' });
    const answers = await Promise.all(guesses);
    assert.deepEqual(
      ['refused', 'busy'].map((answer) => answers.filter((each) => each === answer).length),
      [64, 136],
    );
    assert.equal(await check('0'), 'refused');
  },
);

test('a changed password file takes effect, and a broken one keeps the users', needsHtpasswd, async (t) => {
  const path = await passwordFile(t, 4);
  const errors: AirliftError[] = [];
  const serving = await started(t, { passwordFile: path, onError: (error) => errors.push(error) });
  const status = async (user: string): Promise<number> =>
    (await fetch(`${serving.url}/v2/`, login(user, 'sesame'))).status;
  assert.deepEqual([await status('joe'), await status('ann')], [200, 401]);
  await appendFile(path, (await run('htpasswd', ['-Bbn', '-C', '4', 'ann', 'sesame'])).stdout);
  await until('the new user is accepted', async () => (await status('ann')) === 200);
  await writeFile(path, 'broken');
  await until('the error is reported', async () => (await status('joe')) === 200 && errors.length > 0);
  assert.match(errors[0]?.message ?? '', /users: line 1: not in the form user:hash/);
  await writeFile(path, (await run('htpasswd', ['-Bbn', '-C', '4', 'ann', 'sesame'])).stdout);
  await until('the removed user is refused', async () => (await status('joe')) === 401);
});

test(
  'a password file without bcrypt hashes is an error that says how to make one',
  needsHtpasswd,
  async (t) => {
    const dir = temp(t);
    const path = join(dir, 'users');
    const md5 = (await run('htpasswd', ['-mbn', 'joe', 'sesame'])).stdout;
    const [, hash = ''] = md5.trim().split(':');
    const wrong: [string, RegExp][] = [
      [md5, /users: line 1: the hash of "joe" is not a bcrypt hash/],
      ['# comment\n\njoe\n', /users: line 3: not in the form/],
      ['', /users: contains no user/],
      [`joe:$2y$31$${'a'.repeat(53)}`, /users: line 1: the cost of the hash is 31, want at most 14/],
    ];
    for (const [text, message] of wrong) {
      await writeFile(path, text);
      await assert.rejects(serve({ store: join(dir, 'store') }, { port: 0, passwordFile: path }), (error) => {
        assert.ok(isAirliftError(error, 'input'));
        assert.match(error.message, message);
        assert.ok(!error.message.includes(hash));
        assert.match(error.hint ?? '', /htpasswd -B/);
        return true;
      });
    }
  },
);

test('metrics are in the text format of Prometheus', limit, async (t) => {
  const serving = await started(t, {});
  for (const path of ['acme/api/manifests/1', 'acme/api/manifests/1', 'acme/api/manifests/2'])
    await fetch(`${serving.url}/v2/${path}`);
  const response = await fetch(`${serving.url}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  const types = new Map<string, string>();
  for (const line of text.trimEnd().split('\n')) {
    const [, name, type] = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) types.set(name, type);
    if (line.startsWith('#')) continue;
    const [, metric = ''] =
      /^([a-z_]+)(?:\{[a-z]+="[^"]+"(?:,[a-z]+="[^"]+")*\})? -?[0-9.e+-]+$/.exec(line) ?? [];
    const base = metric.replace(/_(?:bucket|sum|count)$/, '');
    assert.ok(types.has(metric) || types.get(base) === 'histogram', line);
  }
  assert.match(text, /^airlift_http_requests_total\{method="GET",status="200"\} 2$/m);
  assert.match(text, /^airlift_http_requests_total\{method="GET",status="404"\} 1$/m);
  assert.match(text, /^airlift_http_request_duration_seconds_count 3$/m);
  assert.match(text, /^airlift_http_requests_active 1$/m);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseListen } from '../../src/cli/serve.js';
import { isAirliftError } from '../../src/errors.js';
import { airlift, airliftPath } from '../support/airlift.js';
import { tamperBySql } from '../bundle/verify/tamper.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { largestBlob } from '../serve/serve-large.js';
import { issueCertificate, makeAuthority } from '../support/certificates.js';
import { testDigest } from '../support/content.js';
import { beginDownload, readBody } from '../support/download.js';
import { assortment, singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

test('--listen takes an address, a port, or both', () => {
  const cases: [string, string, number][] = [
    ['127.0.0.1:5000', '127.0.0.1', 5000],
    ['localhost:0', 'localhost', 0],
    ['0.0.0.0', '0.0.0.0', 5000],
    [':8080', '127.0.0.1', 8080],
    ['8080', '127.0.0.1', 8080],
    ['[::1]:80', '::1', 80],
    ['[::1]', '::1', 5000],
  ];
  for (const [text, host, port] of cases) assert.deepEqual(parseListen(text), { host, port }, text);
  for (const text of ['', 'a:b', '::1:80', '127.0.0.1:70000', 'http://x', 'a b', '127.0.0.1:']) {
    assert.throws(
      () => parseListen(text),
      (error) => isAirliftError(error, 'usage'),
      text,
    );
  }
});

test('serve prints its address and the next command, and ends on Ctrl-C', async (t) => {
  const store = join(temp(t), 'store');
  const args = [airliftPath, 'serve', '--store', store, '--listen', '127.0.0.1:0'];
  for (const next of [
    /^next: airlift import BUNDLE --to HOST$/,
    /^next: docker pull HOST\/acme\/web:1\.0$/,
  ]) {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const first = String((await lines.next()).value);
    const host = /^serving .* at http:\/\/(127\.0\.0\.1:\d+); Ctrl-C stops it$/.exec(first)?.[1];
    assert.ok(host !== undefined, first);
    assert.match(String((await lines.next()).value).replace(host, 'HOST'), next);
    const { web } = assortment();
    assert.ok(web?.tag !== undefined);
    await pushImage(host, web.repository, web.tag, web.image);
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  }
});

test('the first Ctrl-C lets an active download finish', { timeout: 120_000 }, async (t) => {
  const dir = temp(t);
  const image = singlePlatform('linux/amd64', { name: 'large', bigBytes: 24_000_000 });
  const path = join(dir, 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/large:1', image }]);
  const args = [airliftPath, 'serve', path, '--listen', '127.0.0.1:0', '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  const blob = largestBlob(image);
  const response = await beginDownload(`${url}/v2/acme/large/blobs/${blob.digest}`);
  const exited = once(child, 'exit');
  const stopping = once(createInterface(child.stderr), 'line');
  child.kill('SIGINT');
  assert.match(String((await stopping)[0]), /^stopping; press Ctrl-C again to stop at once/);
  // The pause proves that nothing ends the download: other commands stop 0.9 s after an interruption.
  await sleep(1500);
  assert.equal(testDigest(await readBody(response)), blob.digest);
  assert.deepEqual(await exited, [0, null]);
});

test('a second Ctrl-C stops serve at once and cuts the download', { timeout: 60_000 }, async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'large', bigBytes: 24_000_000 });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/large:1', image }]);
  const args = [airliftPath, 'serve', path, '--listen', '127.0.0.1:0', '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  // The client reads nothing, so the download would go on for two minutes.
  const response = await beginDownload(`${url}/v2/acme/large/blobs/${largestBlob(image).digest}`);
  const stopping = once(createInterface(child.stderr), 'line');
  const exited = once(child, 'exit');
  child.kill('SIGINT');
  await stopping;
  child.kill('SIGINT');
  const [code, signal] = (await exited) as [number | null, string | null];
  assert.deepEqual([code, signal], [130, null]);
  await assert.rejects(readBody(response));
});

test('--json prints one document, and usage errors end with exit code 2', async (t) => {
  const store = join(temp(t), 'store');
  const args = [airliftPath, 'serve', '--store', store, '--listen', '0', '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { event, url, port } = JSON.parse(line) as { event: string; url: string; port: number };
  assert.deepEqual([event, url], ['listening', `http://127.0.0.1:${port}`]);
  child.kill('SIGTERM');
  await once(child, 'exit');
  const wrong = [
    [],
    ['x.tar', '--store', store],
    ['x.tar', '--tls-cert', 'x.pem'],
    ['--store', store, '--emit', store],
    ...['site:65536', 'site:0'].map((host) => ['--store', store, '--listen', '0', '--advertise', host]),
    ['x.tar', '--allow-missing-blobs'],
    ['x.tar', '--log-format', 'xml'],
  ];
  for (const more of wrong) await airlift(['serve', ...more], { codes: [2] });
  await airlift(['serve', join(store, 'none.tar')], { codes: [1] });
});

test('a bundle of a newer format is an error before anything is served, alone or among other inputs', async (t) => {
  const dir = temp(t);
  const [good, newer] = [join(dir, 'good.tar'), join(dir, 'newer.tar')];
  for (const path of [good, newer]) {
    const image = singlePlatform('linux/amd64', { name: path === good ? 'good' : 'newer' });
    await writeBundle(path, [{ reference: `docker.io/acme/${path === good ? 'good' : 'newer'}:1`, image }]);
  }
  await tamperBySql(newer, 'PRAGMA user_version = 99');
  for (const inputs of [[newer], [good, newer], [newer, good]]) {
    const args = ['serve', ...inputs, '--listen', '127.0.0.1:0'];
    const { stdout, stderr } = await airlift(args, { codes: [1] });
    assert.equal(stdout, '');
    assert.match(stderr, /newer\.tar: unknown format version; got 99, want 1 or 2\n/);
    assert.match(
      stderr,
      /\n\s*hint: use the airlift version that wrote this bundle, or a newer one; where it is installed, airlift kit writes it to a medium\n/,
    );
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
  }
});

/** Starts `airlift serve` and returns what it printed first, and its standard error so far. */
async function startedWithJson(
  t: TestContext,
  args: readonly string[],
): Promise<{ url: string; registry: string; stderr: () => string }> {
  const child = spawn(
    process.execPath,
    [airliftPath, 'serve', ...args, '--listen', '127.0.0.1:0', '--json'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { ...(JSON.parse(line) as { url: string; registry: string }), stderr: () => stderr };
}

test(
  '--emit writes the files for nodes, with the authority of the certificate',
  { skip: needs('openssl') },
  async (t) => {
    const dir = temp(t);
    const image = singlePlatform('linux/amd64', { name: 'web' });
    const bundle = join(dir, 'site.tar');
    await writeBundle(bundle, [{ reference: 'docker.io/acme/web:1', image }]);
    const authority = await makeAuthority(dir);
    const { cert, key } = await issueCertificate(dir, authority, 'server', ['registry.site', 'IP:127.0.0.1']);
    const chain = join(dir, 'chain.pem');
    writeFileSync(chain, readFileSync(cert, 'utf8') + readFileSync(authority.cert, 'utf8'));
    const nodes = join(dir, 'nodes');
    const flags = ['--tls-cert', chain, '--tls-key', key, '--emit', nodes, '--advertise', 'registry.site'];
    const { url, registry } = await startedWithJson(t, [bundle, ...flags]);
    assert.equal(registry, `registry.site:${new URL(url).port}`);
    const toml = readFileSync(join(nodes, 'certs.d/docker.io/hosts.toml'), 'utf8');
    assert.ok(toml.includes(`[host."https://${registry}"]`), toml);
    assert.ok(toml.includes(`ca = "/etc/containers/certs.d/${registry}/ca.crt"`), toml);
    assert.equal(
      readFileSync(join(nodes, 'ca.crt'), 'utf8').trim(),
      readFileSync(authority.cert, 'utf8').trim(),
    );
    const table = readFileSync(join(nodes, 'names.tsv'), 'utf8');
    assert.ok(table.includes(`docker.io/acme/web:1\t${registry}/acme/web:1\t${image.root.digest}`));
  },
);

test('--log-format text prints each request with client, status, bytes and duration', async (t) => {
  const { url, stderr } = await startedWithJson(t, [
    '--store',
    join(temp(t), 'store'),
    '--log-format',
    'text',
  ]);
  await (await fetch(`${url}/v2/?access_token=sesame`)).text();
  await until('the request is logged', () => stderr().includes('\n'));
  assert.match(stderr(), /^.*127\.0\.0\.1 .*GET \/v2\/\?access_token=… .*200/);
  assert.ok(!stderr().includes('sesame'));
});

test(
  '--log-format json prints each request as JSON, without passwords',
  { skip: needs('htpasswd') },
  async (t) => {
    const dir = temp(t);
    const users = join(dir, 'users');
    writeFileSync(users, (await run('htpasswd', ['-Bbn', '-C', '4', 'joe', 'sesame'])).stdout);
    const args = ['--store', join(dir, 'store'), '--htpasswd', users, '--log-format', 'json'];
    const { url, stderr } = await startedWithJson(t, args);
    const authorization = `Basic ${Buffer.from('joe:sesame').toString('base64')}`;
    await fetch(`${url}/v2/?access_token=sesame`, { headers: { authorization, 'user-agent': 'a "b' } });
    await fetch(`${url}/v2/a/manifests/1`);
    await until('both requests are logged', () => stderr().split('\n').length > 2);
    const lines = stderr().trimEnd().split('\n');
    const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      entries.map(({ level, method, target, status, user }) => [level, method, target, status, user]),
      [
        ['info', 'GET', '/v2/?access_token=…', 200, 'joe'],
        ['info', 'GET', '/v2/a/manifests/1', 401, undefined],
      ],
    );
    assert.ok(!stderr().includes('sesame') && !stderr().includes(authorization));
  },
);

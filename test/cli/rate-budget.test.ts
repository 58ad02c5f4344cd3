import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { multiPlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';

/** A registry with a quota for manifest downloads, as on Docker Hub. */
interface Counting {
  readonly host: string;
  /** Remaining downloads. */
  left: number;
  /** Downloads added by each quota request while none remain. */
  refill: number;
  /** Paths of downloaded manifests. */
  readonly downloads: string[];
  refused: number;
}

async function startCounting(t: Cleanup, upstream: string, left: number): Promise<Counting> {
  const [name, port] = upstream.split(':');
  const counting = { host: '', left, refill: 0, downloads: [] as string[], refused: 0 };
  const server = createServer((request, response) => {
    const { method, url: path = '', headers } = request;
    const isCounted = method === 'GET' && path.includes('/manifests/');
    if (isCounted && counting.left <= 0) {
      counting.refused++;
      response.writeHead(429, { 'content-type': 'application/json' });
      response.end(
        '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}',
      );
      return;
    }
    if (isCounted) counting.left--;
    const onward = httpRequest({ host: name, port, path, method, headers }, (answer) => {
      if (isCounted && answer.statusCode === 200) counting.downloads.push(path);
      // Missing manifests do not count.
      else if (isCounted) counting.left++;
      const quotaHeaders = { 'ratelimit-limit': '100;w=1', 'ratelimit-remaining': `${counting.left};w=1` };
      response.writeHead(answer.statusCode ?? 0, {
        ...answer.headers,
        ...(path.includes('/manifests/') ? quotaHeaders : {}),
      });
      answer.pipe(response);
      if (method === 'HEAD' && counting.left <= 0) counting.left += counting.refill;
    });
    request.pipe(onward);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => new Promise<void>((done) => void server.close(() => done()).closeAllConnections()));
  counting.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return counting;
}

const names = ['one', 'two', 'three', 'four'];
/** Images that consist of an index and three children. */
const downloadsWanted = names.length * 4;

async function registry(t: Cleanup): Promise<string> {
  const host = await serveStore(t);
  for (const name of names) await pushImage(host, `acme/${name}`, '1', multiPlatform({ name }));
  return host;
}

const exporting = (host: string, output: string, ...flags: string[]): string[] => [
  ...['export', ...names.map((name) => `${host}/acme/${name}:1`), '-o', output, '--retries', '0', ...flags],
];

test('--rate-budget stop ends the run before the registry rejects a download, and the next run resumes', async (t) => {
  const hub = await startCounting(t, await registry(t), 9);
  const output = join(temp(t), 'site.tar');
  const stopped = await airlift(exporting(hub.host, output, '--rate-budget', 'stop:2'), { codes: [1] });
  assert.match(
    stopped.stderr,
    /the pull quota is used up; got 2 of 100 pulls in 0 h left, want more than 2\n {2}hint: run the same command again/,
  );
  assert.equal(hub.refused, 0);
  assert.equal(hub.left, 2);
  hub.left = 100;
  await airlift(exporting(hub.host, output, '--rate-budget', 'stop:2'));
  await airlift(['verify', output]);
  assert.equal(new Set(hub.downloads).size, downloadsWanted);
  // The index of the incomplete image is fetched once more.
  assert.ok(hub.downloads.length <= downloadsWanted + names.length, `${hub.downloads.length} downloads`);
});

test('--rate-budget wait waits until the quota is refilled', async (t) => {
  const hub = await startCounting(t, await registry(t), 5);
  hub.refill = 4;
  const output = join(temp(t), 'site.tar');
  const { stderr } = await airlift(exporting(hub.host, output, '--rate-budget', 'wait'));
  assert.match(stderr, /warning: http:\S+: waiting for the pull quota; \d+ of 100 pulls/);
  assert.equal(hub.refused, 0);
  assert.equal(hub.downloads.length, downloadsWanted);
});

test('without --rate-budget, the hint of a 429 names the flag', async (t) => {
  const hub = await startCounting(t, await registry(t), 5);
  const { stderr } = await airlift(exporting(hub.host, join(temp(t), 'site.tar')), { codes: [1] });
  assert.match(
    stderr,
    /\(429 TOOMANYREQUESTS\): You have reached your pull rate limit\.\n {2}hint: .*airlift login/,
  );
});

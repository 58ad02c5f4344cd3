import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { serve } from '../../src/serve/serve.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { multiPlatform } from '../support/image-sets.js';
import { beginDownload, readBody } from '../support/download.js';
import { temp } from '../support/temp.js';
import { largestBlob, serveLarge } from './serve-large.js';

const limit = { timeout: 60_000 };

test(
  'draining does not cut downloads, and lets a pull that has begun fetch its other layers',
  limit,
  async (t) => {
    const { serving, url, layer } = await serveLarge(t);
    const response = await beginDownload(url);
    const drained = serving.drain();
    const fresh = await fetch(`${serving.url}/v2/acme/large/manifests/1`);
    assert.equal(fresh.status, 503, 'a pull that begins now');
    assert.equal(fresh.headers.get('retry-after'), '5');
    const upload = await fetch(`${serving.url}/v2/acme/large/blobs/uploads/`, { method: 'POST' });
    assert.equal(upload.status, 503, 'an upload that begins now');
    assert.equal(digestOf(await readBody(response)), layer.digest);
    assert.equal(
      digestOf(await readBody(await beginDownload(url))),
      layer.digest,
      'the next layer of the same pull',
    );
    await drained;
    await assert.rejects(fetch(`${serving.url}/v2/`));
  },
);

test('draining ends at once when nothing is under way', limit, async (t) => {
  const { serving } = await serveLarge(t);
  const before = performance.now();
  await serving.drain();
  assert.ok(performance.now() - before < 1500);
});

test(
  'a client that reads or sends a few bytes at a time is dropped, and one that pauses for a moment is not',
  limit,
  async (t) => {
    const { serving, url, layer } = await serveLarge(t, { stallTimeout: 3000 });
    const port = Number(new URL(serving.url).port);
    // Takes a byte now and then: never silent, and far below 1 KiB/s.
    const reader = connect(port, '127.0.0.1');
    reader.on('error', () => undefined);
    reader.write(`GET ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\n\r\n`);
    reader.pause();
    const reading = setInterval(() => reader.read(1), 50);
    // Sends a byte of its request's body now and then.
    const sender = connect(port, '127.0.0.1');
    sender.on('error', () => undefined);
    sender.write('POST /v2/acme/large/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n');
    const sending = setInterval(() => sender.write('x'), 50);
    t.after(() => {
      clearInterval(reading);
      clearInterval(sending);
      reader.destroy();
      sender.destroy();
    });
    sender.resume();
    await once(sender, 'close');
    const slow = await beginDownload(url);
    // A pause shorter than the stall timeout is what is tested.
    await new Promise((done) => setTimeout(done, 300));
    assert.equal(digestOf(await readBody(slow)), layer.digest);
    // Draining waits for every request under way: the reader that drips is gone too.
    await serving.drain();
  },
);

test('a client that reads nothing is dropped, and one that reads is not', limit, async (t) => {
  const { serving, url, layer } = await serveLarge(t, { stallTimeout: 2000 });
  const stalled = await beginDownload(url);
  assert.equal((await readBody(await beginDownload(url))).length, layer.size);
  // A paused client does not see the end; the server has no request left once it gave this one up.
  await serving.drain();
  await assert.rejects(readBody(stalled));
});

test('overwriting a served bundle ends serving and cuts its downloads', limit, async (t) => {
  const { serving, path, url } = await serveLarge(t);
  const response = await beginDownload(url);
  await writeFile(path, 'another file');
  await assert.rejects(serving.broken, /its content changed; stopped/);
  await assert.rejects(readBody(response));
  await assert.rejects(fetch(`${serving.url}/v2/`));
});

test('a mirror of one registry never answers with the image of another', async (t) => {
  const image = multiPlatform({ name: 'hub' });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [
    { reference: 'docker.io/acme/web:1', image },
    { reference: 'quay.io:8443/acme/api:1', image },
  ]);
  const serving = await serve({ inputs: [path] }, { port: 0 });
  t.after(() => serving.close());
  const cases: [string, number][] = [
    ['acme/web/manifests/1?ns=quay.io', 404],
    [`acme/web/manifests/${image.root.digest}?ns=quay.io`, 404],
    ['acme/web/tags/list?ns=quay.io', 404],
    ['docker.io/acme/web/manifests/1?ns=quay.io', 404],
    ['acme/web/manifests/1?ns=docker.io', 200],
    ['acme/web/manifests/1?ns=registry-1.docker.io', 200],
    ['docker.io/acme/web/manifests/1?ns=docker.io', 200],
    ['acme/api/manifests/1?ns=quay.io:8443', 200],
    ['acme/api/manifests/1?ns=quay.io', 404],
    [`acme/web/manifests/1?ns=${serving.host}:${serving.port}`, 200],
    ['acme/web/manifests/1', 200],
  ];
  for (const [asked, status] of cases)
    for (const method of ['GET', 'HEAD'])
      assert.equal(
        (await fetch(`${serving.url}/v2/${asked}`, { method })).status,
        status,
        `${method} ${asked}`,
      );
});

test('a thousand clients pull at a time', limit, async (t) => {
  const image = multiPlatform({ name: 'hub', bigBytes: 200_000 });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/web:1', image }]);
  const serving = await serve({ inputs: [path] }, { port: 0 });
  t.after(() => serving.close());
  const layer = largestBlob(image);
  const base = `${serving.url}/v2/acme/web`;
  const pull = async (): Promise<void> => {
    const index = Buffer.from(await (await fetch(`${base}/manifests/1`)).arrayBuffer());
    assert.equal(digestOf(index), image.root.digest);
    const blob = Buffer.from(await (await fetch(`${base}/blobs/${layer.digest}`)).arrayBuffer());
    assert.equal(digestOf(blob), layer.digest);
  };
  await Promise.all(Array.from({ length: 1000 }, pull));
});

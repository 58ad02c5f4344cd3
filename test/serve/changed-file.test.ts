import assert from 'node:assert/strict';
import { copyFile, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { serve } from '../../src/serve/serve.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { bytesOf } from '../support/content.js';
import { singlePlatform } from '../support/image-sets.js';
import { beginDownload, readBody } from '../support/download.js';
import { temp } from '../support/temp.js';
import { bigBytes, largestBlob, savedTime, serveLarge } from './serve-large.js';
import { until } from '../support/until.js';

const limit = { timeout: 60_000 };

/** Another bundle of the same layout and size, whose layer has other bytes. */
async function writeOther(t: TestContext, path: string): Promise<string> {
  const image = singlePlatform('linux/amd64', { name: 'other', bigBytes });
  const other = join(temp(t), 'other.tar');
  await writeBundle(other, [{ reference: 'docker.io/acme/large:1', image }]);
  assert.equal((await stat(other)).size, (await stat(path)).size);
  return other;
}

test(
  'a download is cut, never completed with wrong bytes, when another bundle is copied over it',
  limit,
  async (t) => {
    const { serving, path, url } = await serveLarge(t);
    const other = await writeOther(t, path);
    const responses = await Promise.all([
      beginDownload(url),
      beginDownload(url),
      beginDownload(url, { Range: 'bytes=100-' }),
    ]);
    await copyFile(other, path);
    for (const response of responses) await assert.rejects(readBody(response));
    await assert.rejects(serving.broken, /its content changed; stopped/);
  },
);

test('clients that pull while bundles overwrite each other get right bytes or none', limit, async (t) => {
  const first = await serveLarge(t);
  const other = await writeOther(t, first.path);
  const original = join(temp(t), 'original.tar');
  await copyFile(first.path, original);
  let [whole, cut] = [0, 0];
  for (let round = 0; round < 6; round++) {
    await copyFile(original, first.path);
    const serving = await serve({ inputs: [first.path] }, { port: 0 });
    try {
      const url = `${serving.url}/v2/acme/large/blobs/${first.layer.digest}`;
      const client = async (): Promise<void> => {
        for (;;) {
          let bytes: Buffer;
          try {
            const response = await fetch(url);
            bytes = Buffer.from(await response.arrayBuffer());
            if (response.status !== 200) continue;
          } catch {
            cut++;
            return;
          }
          assert.equal(digestOf(bytes), first.layer.digest);
          whole++;
        }
      };
      const clients = [client(), client(), client()];
      // Overwritten while downloads are under way, each time at another moment of them.
      const before = whole;
      while (whole < before + 1 + round) await new Promise((done) => setImmediate(done));
      await copyFile(other, first.path);
      await Promise.all(clients);
      await assert.rejects(serving.broken);
    } finally {
      await serving.close();
    }
  }
  assert.ok(whole >= 6);
  assert.equal(cut, 18);
});

test(
  'wrong bytes are never sent completely, even if the file keeps its modification time',
  limit,
  async (t) => {
    const { serving, path, layer, url, errors } = await serveLarge(t);
    const bytes = await readFile(path);
    const at = bytes.indexOf(bytesOf(layer));
    assert.ok(at > 0);
    const file = await open(path, 'r+');
    await file.write(Buffer.from([(bytes[at + 5_000_000] ?? 0) ^ 1]), 0, 1, at + 5_000_000);
    await file.close();
    await utimes(path, savedTime, savedTime);
    const response = await beginDownload(url);
    await assert.rejects(readBody(response));
    await until('the error is reported', () => errors.length > 0);
    await serving.close();
  },
);

test(
  'wrong bytes are never sent completely after the right ones were, even if the file keeps its modification time',
  limit,
  async (t) => {
    const { serving, path, layer, url, errors } = await serveLarge(t);
    // The state of a file that was just written is not relied on.
    await until('the file is two seconds old', async () => Date.now() - (await stat(path)).ctimeMs > 2100);
    for (let count = 0; count < 2; count++)
      assert.equal(digestOf(await readBody(await beginDownload(url))), layer.digest);
    const at = (await readFile(path)).indexOf(bytesOf(layer)) + 5_000_000;
    const file = await open(path, 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
    await file.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, at);
    await file.close();
    await utimes(path, savedTime, savedTime);
    await assert.rejects(beginDownload(url).then(readBody));
    await until('the error is reported', () => errors.length > 0);
    await serving.close();
  },
);

test('a damaged layer is never sent whole, and the damage is reported', limit, async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'large', bigBytes: 2_000_000 });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/large:1', image }]);
  const layer = largestBlob(image);
  const at = (await readFile(path)).indexOf(bytesOf(layer));
  const file = await open(path, 'r+');
  await file.write(Buffer.from('damage'), 0, 6, at + layer.size - 6);
  await file.close();
  const errors: string[] = [];
  const serving = await serve({ inputs: [path] }, { port: 0, onError: ({ code }) => errors.push(code) });
  t.after(() => serving.close());
  const response = await beginDownload(`${serving.url}/v2/acme/large/blobs/${layer.digest}`);
  assert.equal(response.statusCode, 200);
  await assert.rejects(readBody(response));
  // The client may see the end of the connection first.
  await until('the error is reported', () => errors.length > 0);
  assert.deepEqual(errors, ['digest-mismatch']);
  const config = [...image.blobs.values()].find(({ digest }) => digest !== layer.digest);
  assert.equal((await fetch(`${serving.url}/v2/acme/large/blobs/${config?.digest}`)).status, 200);
});

test('serving ends when the bundle is removed', limit, async (t) => {
  const { serving, path, url } = await serveLarge(t);
  const response = await beginDownload(url);
  await rm(path);
  await assert.rejects(serving.broken, /site\.tar: it was removed; stopped/);
  await assert.rejects(readBody(response));
  await assert.rejects(fetch(`${serving.url}/v2/`));
});

test(
  'serving ends when another bundle is renamed onto it, and a download is right or cut',
  limit,
  async (t) => {
    const { serving, path, url, layer } = await serveLarge(t);
    const other = await writeOther(t, path);
    await rename(other, path);
    // Whether it ends before the change is noticed depends on the speed of the machine.
    const bytes = await beginDownload(url)
      .then(readBody)
      .catch(() => undefined);
    if (bytes !== undefined) assert.equal(digestOf(bytes), layer.digest);
    await assert.rejects(serving.broken, /another file took its place/);
  },
);

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { digestOf, hexOf } from '../../src/oci/digest.js';
import { DirectoryStore } from '../../src/registry-server/store.js';
import { asker, imageOf, pushBlob, pushManifest, startRegistry, temporaryFolder } from './fixture.js';
import { startServerProcess } from './process.js';
import { until } from '../support/until.js';

async function filesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}

test('kill -9 during an upload leaves no partial blob, and the upload resumes', async (t) => {
  const directory = join(await temporaryFolder(t), 'store');
  const bytes = randomBytes(4_000_000);
  const digest = digestOf(bytes);
  const first = await startServerProcess(directory);
  t.after(first.kill);
  const begun = await asker(first.url)('POST', 'acme/api/blobs/uploads/');
  const location = begun.headers.get('location') ?? '';
  const { hostname, port } = new URL(first.url);
  const target = `${location}?digest=${digest}`;
  const headers = { 'Content-Length': bytes.length };
  const hanging = request({ hostname, port, path: target, method: 'PUT', headers });
  hanging.on('error', () => undefined);
  hanging.write(bytes.subarray(0, 3_000_000));
  const incoming = join(directory, 'incoming');
  const arrived = async (): Promise<number> => {
    const [name] = await filesIn(incoming);
    return name === undefined ? 0 : (await stat(join(incoming, name))).size;
  };
  await until('2 MB are stored', async () => (await arrived()) >= 2_000_000);
  await first.kill();
  assert.deepEqual(await filesIn(join(directory, 'blobs', 'sha256')), []);

  const second = await startServerProcess(directory);
  t.after(second.kill);
  const ask = asker(second.url);
  assert.equal((await ask('HEAD', `acme/api/blobs/${digest}`)).status, 404);
  const status = await ask('GET', location);
  assert.equal(status.status, 204);
  const held = Number(status.headers.get('range')?.split('-')[1]) + 1;
  assert.equal(held, await arrived());
  const rest = { headers: { 'Content-Range': `${held}-${bytes.length - 1}` }, body: bytes.subarray(held) };
  assert.equal((await ask('PUT', target, rest)).status, 201);
  assert.deepEqual(await readFile(join(directory, 'blobs', 'sha256', hexOf(digest))), bytes);
  assert.deepEqual(await filesIn(incoming), []);
});

test('kill -9 at any instant of a series of pushes leaves whole blobs only, and every tag resolves', async (t) => {
  const directory = join(await temporaryFolder(t), 'store');
  for (let round = 0; round < 4; round++) {
    const running = await startServerProcess(directory);
    t.after(running.kill);
    const registry = { url: running.url, directory, ask: asker(running.url) };
    let pushed = 0;
    const pushing = (async (): Promise<void> => {
      for (let n = 0; ; n++) {
        const image = await imageOf(registry, 'acme/api', `${round}-${n}`);
        await pushBlob(registry, 'acme/api', randomBytes(100_000));
        await pushManifest(registry, 'acme/api', 'latest', image);
        pushed++;
      }
    })().catch(() => undefined);
    await until('images are pushed', () => pushed > round);
    await running.kill();
    await pushing;
    const blobs = join(directory, 'blobs', 'sha256');
    for (const name of await filesIn(blobs)) {
      assert.equal(digestOf(await readFile(join(blobs, name))), `sha256:${name}`);
    }
    const store = await DirectoryStore.open(directory);
    const latest = await store.resolveTag('acme/api', 'latest');
    if (latest !== undefined) assert.ok(await store.manifest('acme/api', latest));
  }
});

test('content that a power loss emptied counts as missing, and the next push restores it', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'a', 'x');
  await pushManifest(registry, 'a', 'v1', image);
  const layer = digestOf(Buffer.from('layer of x'));
  const repository = join(registry.directory, 'repositories', 'a');
  const damage = [
    join(registry.directory, 'blobs', 'sha256', hexOf(layer)),
    join(registry.directory, 'blobs', 'sha256', hexOf(image.digest)),
    join(repository, '_manifests', `sha256-${hexOf(image.digest)}`),
    join(repository, '_tags', 'v1'),
  ];
  const status = async (path: string): Promise<number> => (await registry.ask('GET', path)).status;
  for (const path of damage) {
    await truncate(path, 0);
    const missing = path === damage[0] ? `a/blobs/${layer}` : 'a/manifests/v1';
    assert.equal(await status(missing), 404, path);
    await imageOf(registry, 'a', 'x');
    assert.equal((await pushManifest(registry, 'a', 'v1', image)).status, 201);
    assert.equal(await status(missing), 200, path);
  }
});

test('removing stale uploads removes those that were abandoned a day ago, and keeps younger ones', async (t) => {
  const directory = await temporaryFolder(t);
  const registry = await startRegistry(t);
  await pushBlob(registry, 'a', Buffer.from('x'));
  const incoming = join(registry.directory, 'incoming');
  await writeFile(join(incoming, 'old'), 'x');
  await writeFile(join(incoming, 'young'), 'x');
  const hoursAgo = (hours: number): number => Date.now() / 1000 - hours * 3600;
  await utimes(join(incoming, 'old'), hoursAgo(25), hoursAgo(25));
  await utimes(join(incoming, 'young'), hoursAgo(23), hoursAgo(23));
  await (await DirectoryStore.open(registry.directory)).removeStaleUploads();
  assert.deepEqual(await filesIn(incoming), ['young']);
  await DirectoryStore.open(join(directory, 'none'));
  assert.deepEqual(await filesIn(directory), []);
  await assert.rejects(DirectoryStore.open(join(incoming, 'young')), (error) => isAirliftError(error, 'io'));
});

test('a blob that is larger than the filesystem allows is refused as no space (507)', async (t) => {
  const directory = join(await temporaryFolder(t), 'store');
  const running = await startServerProcess(directory, 1000);
  t.after(running.kill);
  const bytes = randomBytes(3_000_000);
  const ask = asker(running.url);
  const begun = await ask('POST', 'acme/api/blobs/uploads/');
  const target = `${begun.headers.get('location') ?? ''}?digest=${digestOf(bytes)}`;
  const answer = await ask('PUT', target, { headers: { 'Content-Length': `${bytes.length}` }, body: bytes });
  assert.equal(answer.status, 507);
  assert.match(await answer.text(), /EFBIG/);
  assert.equal((await ask('HEAD', `acme/api/blobs/${digestOf(bytes)}`)).status, 404);
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf, hexOf } from '../../src/oci/digest.js';
import { pruneStore } from '../../src/registry-server/prune.js';
import { airlift } from '../support/airlift.js';
import { temp } from '../support/temp.js';
import { walkRegistry } from '../support/walk.js';
import { asker, imageOf, pushBlob, pushManifest, type RunningRegistry } from './fixture.js';
import { startServerProcess } from './process.js';

const limit = { timeout: 60_000 };

async function startTwo(t: {
  after(work: () => Promise<void>): void;
}): Promise<[RunningRegistry, RunningRegistry]> {
  const directory = join(temp(t), 'store');
  const start = async (): Promise<RunningRegistry> => {
    const { url, kill } = await startServerProcess(directory);
    t.after(kill);
    return { url, directory, ask: asker(url) };
  };
  return [await start(), await start()];
}

test('two processes serve one directory: each has at once what the other accepts', limit, async (t) => {
  const [one, other] = await startTwo(t);
  const hosts = [new URL(one.url).host, new URL(other.url).host];
  await Promise.all(
    [one, other, one, other].map(async (registry, at) => {
      // All push one image to one repository, and one to a repository of their own.
      for (const [repository, text] of [
        ['acme/shared', 'same'],
        [`acme/app-${at}`, `own ${at}`],
      ] as const) {
        const image = await imageOf(registry, repository, text);
        assert.equal((await pushManifest(registry, repository, 'v1', image)).status, 201);
      }
    }),
  );
  // Nothing is older than a day, so a prune beside both removes nothing.
  assert.equal((await pruneStore(one.directory)).manifests, 0);
  for (const host of hosts)
    for (const repository of ['acme/shared', 'acme/app-0', 'acme/app-1', 'acme/app-2', 'acme/app-3'])
      await walkRegistry(host, repository, 'v1');
  const blob = await pushBlob(one, 'acme/shared', randomBytes(100_000));
  assert.equal((await other.ask('DELETE', `acme/shared/blobs/${blob}`)).status, 202);
  assert.equal((await one.ask('GET', `acme/shared/blobs/${blob}`)).status, 404);
});

test('an upload that has begun may go on at another process that serves the directory', limit, async (t) => {
  const [one, other] = await startTwo(t);
  const bytes = randomBytes(900_000);
  const digest = digestOf(bytes);
  const begun = await one.ask('POST', 'acme/api/blobs/uploads/');
  const location = begun.headers.get('location') ?? '';
  const send = async (registry: RunningRegistry, start: number, end: number): Promise<void> => {
    const headers = { 'Content-Range': `${start}-${end - 1}` };
    const sent = await registry.ask('PATCH', location, { headers, body: bytes.subarray(start, end) });
    assert.equal(sent.status, 202);
    assert.equal(sent.headers.get('range'), `0-${end - 1}`);
  };
  await send(one, 0, 300_000);
  await send(other, 300_000, 600_000);
  const state = await one.ask('GET', location);
  assert.equal(state.headers.get('range'), '0-599999');
  await send(one, 600_000, 900_000);
  assert.equal((await other.ask('PUT', `${location}?digest=${digest}`)).status, 201);
  assert.deepEqual(await readFile(join(one.directory, 'blobs', 'sha256', hexOf(digest))), bytes);
  // The first process knows the upload, and that it has ended.
  for (const registry of [one, other]) {
    assert.equal((await registry.ask('GET', location)).status, 404);
    assert.equal((await registry.ask('PATCH', location, { body: 'more' })).status, 404);
  }
  assert.deepEqual(await readdir(join(one.directory, 'incoming')), []);
});

test('a directory of another program is refused, and nothing is written to it', limit, async (t) => {
  for (const [marker, message] of [
    ['oci-layout', /an OCI image layout, not a served registry\n\s*hint: serve its images, read-only/],
    ['docker/registry/v2/x', /the storage of another registry\n\s*hint: .*airlift copy/],
  ] as const) {
    const directory = temp(t);
    const path = join(directory, marker);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, '{}');
    const before = await readdir(directory, { recursive: true });
    const { stderr } = await airlift(['serve', '--store', directory, '--listen', '127.0.0.1:0'], {
      codes: [1],
    });
    assert.match(stderr, message);
    assert.deepEqual(await readdir(directory, { recursive: true }), before);
  }
});

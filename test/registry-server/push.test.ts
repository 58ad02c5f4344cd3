import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { errorCode, pushBlob, startRegistry, type RunningRegistry } from './fixture.js';

async function begin(registry: RunningRegistry, repository = 'acme/api'): Promise<string> {
  const started = await registry.ask('POST', `${repository}/blobs/uploads/`);
  assert.equal(started.status, 202);
  return started.headers.get('location') ?? '';
}

function finishing(location: string, digest: Digest): string {
  return `${location}?digest=${encodeURIComponent(digest)}`;
}

async function assertHeld(registry: RunningRegistry, repository: string, bytes: Uint8Array): Promise<void> {
  const held = await registry.ask('GET', `${repository}/blobs/${digestOf(bytes)}`);
  assert.equal(held.status, 200);
  assert.deepEqual(Buffer.from(await held.arrayBuffer()), Buffer.from(bytes));
}

function stream(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

test('a blob is pushed by POST and PUT, by POST alone, and by PATCH as a stream', async (t) => {
  const registry = await startRegistry(t);
  const [first, second, third] = [randomBytes(100), randomBytes(200_000), randomBytes(2_000_000)];
  const put = await registry.ask('PUT', finishing(await begin(registry), digestOf(first)), { body: first });
  assert.equal(put.status, 201);
  assert.equal(put.headers.get('location'), `/v2/acme/api/blobs/${digestOf(first)}`);
  assert.equal(put.headers.get('docker-content-digest'), digestOf(first));
  await pushBlob(registry, 'acme/api', second);
  const location = await begin(registry);
  const chunks = [third.subarray(0, 700_000), third.subarray(700_000)];
  const patched = await registry.ask('PATCH', location, { body: stream(chunks) });
  assert.equal(patched.status, 202);
  assert.equal(patched.headers.get('range'), '0-1999999');
  assert.equal((await registry.ask('PUT', finishing(location, digestOf(third)))).status, 201);
  for (const bytes of [first, second, third]) await assertHeld(registry, 'acme/api', bytes);
  assert.equal((await registry.ask('GET', location)).status, 404);
});

test('an empty blob can be pushed', async (t) => {
  const registry = await startRegistry(t);
  const empty = new Uint8Array();
  assert.equal((await registry.ask('PUT', finishing(await begin(registry), digestOf(empty)))).status, 201);
  await assertHeld(registry, 'acme/api', empty);
});

test('a chunk out of order is refused with the bytes received so far, and the upload can continue', async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(3000);
  const location = await begin(registry);
  const chunk = (start: number, end: number): { headers: Record<string, string>; body: Uint8Array } => ({
    headers: { 'Content-Range': `${start}-${end - 1}` },
    body: bytes.subarray(start, end),
  });
  assert.equal((await registry.ask('PATCH', location, chunk(0, 1000))).headers.get('range'), '0-999');
  for (const wrong of [chunk(2000, 3000), chunk(0, 1000), chunk(999, 1500)]) {
    const refused = await registry.ask('PATCH', location, wrong);
    assert.equal(refused.status, 416);
    assert.equal(refused.headers.get('range'), '0-999');
    assert.equal(refused.headers.get('location'), location);
    await refused.arrayBuffer();
  }
  for (const range of ['what', '5-2', 'bytes 1000-']) {
    const malformed = await registry.ask('PATCH', location, {
      headers: { 'Content-Range': range },
      body: 'x',
    });
    assert.equal(malformed.status, 416, range);
    await malformed.arrayBuffer();
  }
  const lies = await registry.ask('PATCH', location, {
    headers: { 'Content-Range': '1000-1009' },
    body: 'x',
  });
  assert.equal(lies.status, 400);
  assert.equal(await errorCode(lies), 'SIZE_INVALID');
  for (const body of [bytes.subarray(0, 9), bytes.subarray(0, 11)]) {
    const streamed = { headers: { 'Content-Range': '1000-1009' }, body: stream([body]) };
    assert.equal(await errorCode(await registry.ask('PATCH', location, streamed)), 'SIZE_INVALID');
  }
  const status = await registry.ask('GET', location);
  assert.equal(status.status, 204);
  assert.equal(status.headers.get('range'), '0-999');
  assert.equal((await registry.ask('PATCH', location, chunk(1000, 2000))).status, 202);
  const last = await registry.ask('PUT', finishing(location, digestOf(bytes)), chunk(2000, 3000));
  assert.equal(last.status, 201);
  await assertHeld(registry, 'acme/api', bytes);
});

test('content with another digest is dropped', async (t) => {
  const registry = await startRegistry(t);
  const want = digestOf(Buffer.from('right'));
  const location = await begin(registry);
  const wrong = await registry.ask('PUT', finishing(location, want), { body: 'wrong' });
  assert.equal(wrong.status, 400);
  assert.equal(await errorCode(wrong), 'DIGEST_INVALID');
  assert.equal((await registry.ask('HEAD', `acme/api/blobs/${want}`)).status, 404);
  assert.equal((await registry.ask('GET', location)).status, 404);
  const single = await registry.ask('POST', `acme/api/blobs/uploads/?digest=${want}`, { body: 'wrong' });
  assert.equal(await errorCode(single), 'DIGEST_INVALID');
  const none = await registry.ask('PUT', await begin(registry), { body: 'right' });
  assert.equal(await errorCode(none), 'DIGEST_INVALID');
});

test('a blob is mounted from the named repository, or from any; otherwise an upload begins', async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(50);
  const digest = await pushBlob(registry, 'from/here', bytes);
  const mounted = await registry.ask('POST', `to/there/blobs/uploads/?mount=${digest}&from=from/here`);
  assert.equal(mounted.status, 201);
  assert.equal(mounted.headers.get('location'), `/v2/to/there/blobs/${digest}`);
  await assertHeld(registry, 'to/there', bytes);
  assert.equal((await registry.ask('POST', `any/where/blobs/uploads/?mount=${digest}`)).status, 201);
  for (const query of [
    `mount=${digest}&from=not/here`,
    `mount=${digest}&from=../here`,
    `mount=${digestOf(Buffer.from('none'))}&from=from/here`,
    'mount=latest&from=from/here',
  ]) {
    const begun = await registry.ask('POST', `else/where/blobs/uploads/?${query}`);
    assert.equal(begun.status, 202, query);
    assert.match(begun.headers.get('location') ?? '', /^\/v2\/else\/where\/blobs\/uploads\/./);
  }
});

test('an upload is cancelled by DELETE and is unknown in other repositories', async (t) => {
  const registry = await startRegistry(t);
  const location = await begin(registry, 'a');
  assert.equal((await registry.ask('PATCH', location, { body: 'some' })).status, 202);
  const elsewhere = location.replace('/v2/a/', '/v2/b/');
  for (const method of ['GET', 'PATCH', 'DELETE']) {
    const response = await registry.ask(method, elsewhere);
    assert.equal(response.status, 404, method);
    assert.equal(await errorCode(response), 'BLOB_UPLOAD_UNKNOWN');
  }
  assert.equal((await registry.ask('DELETE', location)).status, 204);
  assert.equal((await registry.ask('GET', location)).status, 404);
  assert.equal((await registry.ask('DELETE', location)).status, 404);
});

test('an interrupted upload resumes after the bytes that arrived, even while the first request still hangs', async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(1_500_000);
  const location = await begin(registry);
  const { hostname, port } = new URL(registry.url);
  const hanging = request({ hostname, port, path: location, method: 'PATCH' });
  const gone = once(hanging, 'error');
  hanging.write(bytes.subarray(0, 600_000));
  const heldAfter = async (method: string): Promise<number> => {
    const status = await registry.ask(method, location);
    return Number(status.headers.get('range')?.split('-')[1]) + 1;
  };
  while ((await heldAfter('GET')) === 1) await setImmediate();
  const held = await heldAfter('PATCH');
  await gone;
  const rest = { headers: { 'Content-Range': `${held}-${bytes.length - 1}` }, body: bytes.subarray(held) };
  assert.equal((await registry.ask('PATCH', location, rest)).status, 202);
  assert.equal((await registry.ask('PUT', finishing(location, digestOf(bytes)))).status, 201);
  await assertHeld(registry, 'acme/api', bytes);
});

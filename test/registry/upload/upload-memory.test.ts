import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { UploadMemory } from '../../../src/registry/upload/upload-memory.js';
import type { UploadCall } from '../../../src/registry/upload/upload-session.js';
import { temp } from '../../support/temp.js';
import { content, opener } from '../content.js';

const large = content(Buffer.alloc(5_000_000));

function callTo(origin: string, size = large.descriptor.size): UploadCall {
  return {
    endpoint: { origin, repository: 'a/b' } as UploadCall['endpoint'],
    descriptor: { ...large.descriptor, size },
    open: opener(large.bytes),
    mountFrom: undefined,
    action: 'push',
    signal: undefined,
  };
}

const call = callTo('https://reg.example');
const session = { url: new URL('https://reg.example/up/1?_state=secret'), minChunk: 7 };

/** The recorded upload, to be changed before it is read again. */
async function written(t: TestContext): Promise<{ directory: string; path: string }> {
  const directory = join(temp(t), 'state', 'uploads');
  await new UploadMemory(directory).remember(call, session);
  const [name = ''] = readdirSync(directory);
  return { directory, path: join(directory, name) };
}

test('another process finds an unfinished upload until it is completed', async (t) => {
  const { directory } = await written(t);
  assert.deepEqual(await new UploadMemory(directory).recall(call), session);
  assert.equal(await new UploadMemory(directory).recall(callTo('https://other.example')), undefined);
  await new UploadMemory(directory).forget(call);
  assert.equal(await new UploadMemory(directory).recall(call), undefined);
  assert.deepEqual(readdirSync(directory), []);
});

test('small blobs are not recorded', async (t) => {
  const directory = temp(t);
  const memory = new UploadMemory(directory);
  const small = callTo('https://reg.example', 1000);
  await memory.remember(small, session);
  assert.equal(await memory.recall(small), undefined);
  assert.deepEqual(readdirSync(directory), []);
});

test('an upload that another process works on is left to it', async (t) => {
  const { directory, path } = await written(t);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const kept = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...kept, pid: child.pid }));
  assert.equal(await new UploadMemory(directory).recall(call), undefined);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.deepEqual(await new UploadMemory(directory).recall(call), session);
});

test('records that are old, damaged or without TLS are ignored', async (t) => {
  const { directory, path } = await written(t);
  const text = readFileSync(path, 'utf8');
  for (const wrong of ['', '{', '[]', text.replace('"minChunk":7', '"minChunk":"x"'), 'x'.repeat(100_000)]) {
    writeFileSync(path, wrong);
    assert.equal(await new UploadMemory(directory).recall(call), undefined);
  }
  for (const location of ['http://reg.example/up/1', 'file:///etc/passwd', 'nowhere']) {
    writeFileSync(path, text.replace(session.url.href, location));
    assert.equal(await new UploadMemory(directory).recall(call), undefined, location);
  }
  writeFileSync(path, text);
  const longAgo = Date.now() / 1000 - 8 * 24 * 3600;
  utimesSync(path, longAgo, longAgo);
  assert.equal(await new UploadMemory(directory).recall(call), undefined);
  await new UploadMemory(directory).remember(callTo('https://other.example'), session);
  assert.ok(!readdirSync(directory).some((name) => path.endsWith(name)), 'the old one is removed');
});

test('uploads are recorded in memory only if the directory is not writable', async (t) => {
  const file = join(temp(t), 'file');
  writeFileSync(file, '');
  const memory = new UploadMemory(join(file, 'uploads'));
  await memory.remember(call, session);
  assert.deepEqual(await memory.recall(call), session);
  await memory.forget(call);
  assert.equal(await memory.recall(call), undefined);
});

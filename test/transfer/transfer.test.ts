import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { BundleFile } from '../../src/bundle/format/file.js';
import { isAirliftError } from '../../src/errors.js';
import { Registry } from '../../src/registry/registry.js';
import { transferBlob, type TransferTask } from '../../src/transfer/transfer.js';
import type { Written } from '../../src/transfer/resume-check.js';
import { noise, testDigest } from '../support/content.js';
import { startOddServer, type Handler } from '../registry/odd-server.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

const bytes = Buffer.concat([...noise(5_000_000, 'transfer')]);
const descriptor = { mediaType: 'application/octet-stream', digest: testDigest(bytes), size: bytes.length };
/** Bytes of the file before and after the blob's place, which a transfer must not change. */
const margin = 1_000_000;

interface Setting {
  readonly task: TransferTask;
  readonly received: () => number;
  run(written?: Partial<Written>, signal?: AbortSignal): Promise<number>;
  /** Returns the bytes at the blob's place. Fails if the bytes before or after it have changed. */
  place(): Buffer;
  /** Writes bytes to the blob's place, from `offset` on. */
  put(content: Buffer, offset: number): void;
}

async function setUp(t: TestContext, handler: Handler): Promise<Setting> {
  const path = join(temp(t), 'file');
  const around = Buffer.alloc(margin, 'x');
  writeFileSync(path, Buffer.concat([around, Buffer.alloc(bytes.length), around]));
  const server = await startOddServer(t, handler);
  const registry = new Registry({ retries: 1, retryDelay: 1 });
  t.after(() => registry.close());
  const file = await BundleFile.open(path, 'r+');
  t.after(() => file.close());
  const task = { repository: { registry: server.host, repository: 'a/b' }, descriptor, have: 0 };
  let received = 0;
  return {
    task,
    received: () => received,
    run: async (written, signal) => {
      const place = {
        write: (chunks: readonly Uint8Array[], offset: number) => file.writevSync(chunks, margin + offset),
        read: (length: number) => file.stream(margin, length),
      };
      const options = { retries: 3, retryDelay: 1, signal, onProgress: () => undefined };
      received = await transferBlob(registry, place, { ...task, ...written }, options);
      return received;
    },
    place: () => {
      const all = readFileSync(path);
      assert.ok(all.subarray(0, margin).equals(around), 'bytes before the place');
      assert.ok(all.subarray(margin + bytes.length).equals(around), 'bytes after the place');
      return all.subarray(margin, margin + bytes.length);
    },
    put: (content, offset) => file.writevSync([content], margin + offset),
  };
}

/** Serves the blob with ranges. `spoil` gets the number of earlier requests, and returns true if it has answered the request itself. */
function serving(
  spoil: (response: Parameters<Handler>[1], offset: number, count: number) => boolean,
): Handler {
  let count = 0;
  return (request, response) => {
    const offset = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (spoil(response, offset, count++)) return;
    const range = { 'content-range': `bytes ${offset}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(offset === 0 ? 200 : 206, offset === 0 ? {} : range).end(bytes.subarray(offset));
  };
}

function checkpointsAt(...places: number[]): NonNullable<Written['checkpoints']> {
  return places.map((at) => ({
    bytes: at,
    digest: createHash('sha256').update(bytes.subarray(0, at)).digest(),
  }));
}

test('content that is too long touches nothing beside its place', async (t) => {
  const long = Buffer.concat([bytes, Buffer.alloc(400_000, 'y')]);
  const { run, place } = await setUp(t, (_request, response) => {
    // In chunks: no length is announced.
    response.write(long.subarray(0, 3_000_000));
    response.end(long.subarray(3_000_000));
  });
  await assert.rejects(run(), (error) => {
    assert.ok(isAirliftError(error, 'size-mismatch'));
    assert.match(error.message, /wrong content twice/);
    return true;
  });
  place();
});

test('wrong content is fetched once more, then it is an error that names the registry', async (t) => {
  const wrong = Buffer.from(bytes);
  wrong.writeUInt32BE(0, 4_000_000);
  let requests = 0;
  const { run, task } = await setUp(t, (_request, response) => {
    requests++;
    response.end(wrong);
  });
  await assert.rejects(run(), (error) => {
    assert.ok(isAirliftError(error, 'digest-mismatch'));
    assert.match(
      error.message,
      new RegExp(`fetch blob .* of ${task.repository.registry}/a/b: wrong content twice`),
    );
    return true;
  });
  assert.equal(requests, 2);
});

test('a byte that flips on the way costs one more fetch', async (t) => {
  const wrong = Buffer.from(bytes);
  wrong.writeUInt32BE(0, 4_000_000);
  const { run, place } = await setUp(
    t,
    serving((response, _offset, count) => count === 0 && Boolean(response.end(wrong))),
  );
  assert.equal(await run(), 2 * bytes.length);
  assert.ok(place().equals(bytes));
});

test('a broken body resumes where it broke', async (t) => {
  const { run, place } = await setUp(
    t,
    serving((response, offset, count) => {
      if (count > 4) return false;
      if (offset > 0) response.writeHead(206, { 'content-range': `bytes ${offset}-4999999/5000000` });
      response.write(bytes.subarray(offset, offset + 700_000), () => response.destroy());
      return true;
    }),
  );
  assert.equal(await run(), bytes.length);
  assert.ok(place().equals(bytes));
});

test('a body that ends early without a length is resumed', async (t) => {
  const { run, place } = await setUp(
    t,
    serving((response, _offset, count) => {
      if (count > 0) return false;
      response.write(bytes.subarray(0, 1000));
      response.end(bytes.subarray(1000, 2_000_000));
      return true;
    }),
  );
  assert.equal(await run(), bytes.length);
  assert.ok(place().equals(bytes));
});

test('a server without ranges sends the whole blob again', async (t) => {
  const { run, place, put } = await setUp(t, (_request, response) => response.end(bytes));
  put(bytes.subarray(0, 3_000_000), 0);
  assert.equal(await run({ have: 3_000_000, checkpoints: checkpointsAt(3_000_000) }), bytes.length);
  assert.ok(place().equals(bytes));
});

test('the bytes of an earlier run are kept up to its last matching checkpoint', async (t) => {
  const { run, place, put } = await setUp(
    t,
    serving(() => false),
  );
  const written = { have: 4_000_000, checkpoints: checkpointsAt(1_000_000, 2_500_000, 4_000_000) };
  put(bytes.subarray(0, 4_000_000), 0);
  assert.equal(await run(written), 1_000_000, 'all right');
  assert.ok(place().equals(bytes));

  put(Buffer.from('flip'), 3_000_000);
  assert.equal(await run(written), 2_500_000, 'wrong behind the second');
  assert.ok(place().equals(bytes));

  put(Buffer.from('flip'), 100);
  assert.equal(await run(written), bytes.length, 'wrong before the first');
  assert.ok(place().equals(bytes));

  assert.equal(await run({ ...written, have: bytes.length }), 0, 'whole');
  put(Buffer.from('flip'), 4_500_000);
  assert.equal(await run({ ...written, have: bytes.length }), 1_000_000, 'wrong behind the last');
  assert.ok(place().equals(bytes));
});

test('bytes without checkpoints are proven by the digest of the whole blob', async (t) => {
  const { run, place, put } = await setUp(
    t,
    serving(() => false),
  );
  put(bytes.subarray(0, 2_000_000), 0);
  assert.equal(await run({ have: 2_000_000 }), 3_000_000);
  assert.ok(place().equals(bytes));
  put(Buffer.from('flip'), 100);
  assert.equal(await run({ have: 2_000_000 }), 8_000_000);
  assert.ok(place().equals(bytes));
});

test('an interruption ends the transfer at once and keeps the received bytes', async (t) => {
  const stop = new AbortController();
  const { run, place } = await setUp(
    t,
    serving((response) => {
      response.write(bytes.subarray(0, 3_000_000));
      return true;
    }),
  );
  const isInPlace = (): boolean => place().subarray(0, 1_000_000).equals(bytes.subarray(0, 1_000_000));
  const running = run({}, stop.signal);
  const interrupted = assert.rejects(running, (error) => isAirliftError(error, 'interrupted'));
  await until('the first bytes are written', isInPlace);
  stop.abort();
  await interrupted;
  assert.ok(isInPlace());
});

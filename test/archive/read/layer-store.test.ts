import assert from 'node:assert/strict';
import { open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { suite, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { readLayerFiles, type LayerFiles } from '../../../src/archive/platform/layer-files.js';
import {
  LayerStore,
  type LayerMemory,
  type LayerStoreOptions,
} from '../../../src/archive/read/layer-store.js';
import { isAirliftError } from '../../../src/errors.js';
import { FileRange, MemoryRange, PathRange, type Place } from '../../../src/io/byte-range.js';
import type { Digest } from '../../../src/oci/digest.js';
import { noise, testDigest } from '../../support/content.js';
import { elfFile } from '../../support/elf.js';
import { needsMount, smallDisk } from '../../support/small-disk.js';
import { tarOf } from '../../support/tar.js';
import { temp, type Cleanup } from '../../support/temp.js';

/** A layer of several blocks, with a program, a script and a link at its end. */
function layerTar(seed: string): Buffer {
  return tarOf([
    { name: 'data/', type: 'directory' },
    { name: 'data/noise', content: Buffer.concat([...noise(2_500_000, seed)]) },
    { name: 'data/text', content: Buffer.from('all work and no play '.repeat(100_000)) },
    { name: 'bin/app', content: elfFile('linux/arm/v7'), mode: 0o755 },
    { name: 'bin/run', content: Buffer.from('#!/bin/app\n'), mode: 0o755 },
    { name: 'bin/link', type: 'symlink', target: 'app' },
  ]);
}

/** Content in memory; `placed` resolves when it is handed to a worker thread. */
class WatchedRange extends MemoryRange {
  #report: () => void = () => undefined;
  readonly placed = new Promise<void>((resolve) => (this.#report = resolve));

  constructor(readonly tar: Buffer) {
    super(tar);
  }

  override get place(): Place {
    this.#report();
    return super.place;
  }
}

/** Checks files that were found in a layer. Programs are compared by what they read, the other files by value. */
async function assertFiles(found: LayerFiles | undefined, tar: Buffer): Promise<void> {
  const wanted = await readLayerFiles(new MemoryRange(tar));
  assert.deepEqual([...(found?.files.keys() ?? [])], [...wanted.files.keys()]);
  for (const [path, file] of wanted.files) {
    const same = found?.files.get(path);
    if (file.kind !== 'program' || same?.kind !== 'program') assert.deepEqual(same, file);
    else assert.deepEqual(await same.read?.(4, 60), await file.read?.(4, 60));
  }
}

function storeOf(t: Cleanup, options: Partial<LayerStoreOptions> = {}): LayerStore {
  const store = new LayerStore({ compression: 'gzip', format: 'oci', ...options });
  t.after(() => store.close());
  return store;
}

suite('layers of docker-archives', { timeout: 120_000 }, () => {
  test('several layers at a time: each is compressed, verified and scanned for programs', async (t) => {
    const dir = temp(t);
    const store = storeOf(t);
    const tars = ['a', 'b', 'c', 'd'].map(layerTar);
    await writeFile(join(dir, 'a.tar'), tars[0] ?? '');
    const layers = await Promise.all(
      tars.map((tar, at) => {
        const content = at === 0 ? new PathRange(join(dir, 'a.tar'), tar.length) : new MemoryRange(tar);
        return store.add(testDigest(tar), content, `layer ${at}`);
      }),
    );
    for (const [at, { digest, size }] of layers.entries()) {
      const tar = tars[at] ?? Buffer.alloc(0);
      const stored = await store.find(digest);
      const bytes = stored === undefined ? Buffer.alloc(0) : await buffer(stored.stream());
      assert.equal(testDigest(bytes), digest);
      assert.equal(bytes.length, size);
      assert.ok(gunzipSync(bytes).equals(tar));
      await assertFiles(store.filesOf(testDigest(tar)), tar);
    }
  });

  test('a layer whose digest is known is scanned, and compressed only where its content is wanted', async (t) => {
    const path = join(temp(t), 'a.tar');
    const tar = layerTar('a');
    await writeFile(path, tar);
    const file = await open(path);
    t.after(() => file.close());
    const { digest, size } = await storeOf(t).add(testDigest(tar), new MemoryRange(tar), 'a');
    const memory: LayerMemory = { get: () => ({ digest, size }), set: () => Promise.resolve() };
    for (const content of [
      new PathRange(path, tar.length),
      new MemoryRange(tar),
      new FileRange(file, 0, tar.length, path),
    ]) {
      const store = storeOf(t, { memory });
      assert.equal(store.scan(testDigest(tar)), undefined);
      assert.deepEqual((await store.add(testDigest(tar), content, 'a')).digest, digest);
      assert.equal(store.filesOf(testDigest(tar)), undefined);
      await assertFiles(await store.scan(testDigest(tar)), tar);
      const stored = await store.find(digest);
      assert.ok(stored !== undefined);
      assert.equal(testDigest(await buffer(stored.stream())), digest);
      await assertFiles(store.filesOf(testDigest(tar)), tar);
    }
  });

  test('a known layer that is damaged is scanned up to the damage', async (t) => {
    const tar = layerTar('a');
    const known = { digest: testDigest('known'), size: 10 };
    const memory: LayerMemory = { get: () => known, set: () => Promise.resolve() };
    const store = storeOf(t, { memory });
    const path = join(temp(t), 'a.tar');
    await writeFile(path, tar.subarray(0, 1_000_000));
    await store.add(testDigest(tar), new PathRange(path, tar.length), 'a');
    const found = await store.scan(testDigest(tar));
    assert.deepEqual([...(found?.files.keys() ?? [])], ['data']);
  });

  test('content that does not match its diff_id is refused, whatever its compression', async (t) => {
    const wrong: Digest = testDigest('something else');
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const store = storeOf(t, { compression });
      await assert.rejects(store.add(wrong, new MemoryRange(layerTar('x')), 'layer x'), (error) =>
        isAirliftError(error, 'digest-mismatch'),
      );
    }
  });

  test('a file that ends early is damaged', async (t) => {
    const path = join(temp(t), 'short.tar');
    const tar = layerTar('x');
    await writeFile(path, tar.subarray(0, 1_000_000));
    await assert.rejects(
      storeOf(t).add(testDigest(tar), new PathRange(path, tar.length), 'layer x'),
      (error) => isAirliftError(error, 'damaged') && /truncated at byte 1000000/.test(error.message),
    );
  });

  test('an abort ends the layers that are being read, and leaves no file', async (t) => {
    const tmpDir = temp(t);
    const stop = new AbortController();
    const store = storeOf(t, { tmpDir, signal: stop.signal });
    const adding = ['a', 'b', 'c'].map((seed) => {
      const tar = layerTar(seed);
      return store.add(testDigest(tar), new MemoryRange(tar), seed);
    });
    const results = Promise.allSettled(adding);
    stop.abort();
    for (const result of await results)
      assert.ok(result.status === 'rejected' && isAirliftError(result.reason, 'interrupted'));
    assert.deepEqual(await readdir(tmpDir), []);
    // Another store starts a new thread.
    const tar = layerTar('d');
    assert.ok((await storeOf(t).add(testDigest(tar), new MemoryRange(tar), 'd')).size > 0);
  });

  test('an abort does not end the layers of another run', async (t) => {
    const stop = new AbortController();
    const stopped = storeOf(t, { signal: stop.signal });
    const other = storeOf(t, { signal: new AbortController().signal });
    const [a, b] = [new WatchedRange(layerTar('a')), new WatchedRange(layerTar('b'))];
    const results = Promise.allSettled([
      stopped.add(testDigest(a.tar), a, 'a'),
      other.add(testDigest(b.tar), b, 'b'),
    ]);
    await Promise.all([a.placed, b.placed]);
    stop.abort();
    const [first, second] = await results;
    assert.ok(first.status === 'rejected' && isAirliftError(first.reason, 'interrupted'));
    assert.ok(second.status === 'fulfilled');
    const stored = await other.find(second.value.digest);
    assert.ok(stored !== undefined);
    assert.ok(gunzipSync(await buffer(stored.stream())).equals(b.tar));
  });

  test('a full disk is reported, and 64 MiB stay free', { skip: needsMount() }, async (t) => {
    const tmpDir = await smallDisk(t, 66 * 1024 * 1024);
    const tar = layerTar('x');
    const store = new LayerStore({ compression: 'gzip', format: 'oci', tmpDir });
    await assert.rejects(
      store.add(testDigest(tar), new MemoryRange(tar), 'layer x'),
      (error) =>
        isAirliftError(error, 'no-space') &&
        /^store layer x in \S+: not enough space; got /.test(error.message),
    );
    await store.close();
    assert.deepEqual(await readdir(tmpDir), []);
  });
});

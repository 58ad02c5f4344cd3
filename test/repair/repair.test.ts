import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { sumsDigest } from '../../src/bundle/format/sums.js';
import type { Digest } from '../../src/oci/digest.js';
import { repairBundle } from '../../src/repair/repair.js';
import { exportRequested } from '../../src/repair/export-requested.js';
import { verify } from '../../src/verify.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { failsWith } from '../support/errors.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';

interface Place {
  readonly name: string;
  readonly position: number;
  readonly size: number;
}

describe('repair', () => {
  const dir = temp({ after });
  const whole = join(dir, 'whole.tar');
  const path = join(dir, 'site.tar');
  let bytes: Buffer;
  let start: number;
  /** Contents of the head's entries and of the blobs. */
  let head: Map<string, Place>;
  let blobs: Place[];
  before(async () => {
    await writeBundle(whole, everyKind());
    bytes = readFileSync(whole);
    const reader = await BundleReader.open(whole);
    start = reader.head.start;
    head = new Map(
      [...reader.head.entries].map(([name, { contentPosition, size }]) => [
        name,
        { name, position: contentPosition, size },
      ]),
    );
    blobs = [...reader.blobs()].flatMap(({ digest, size }) => {
      const position = reader.position(digest);
      return position === undefined ? [] : [{ name: digest, position, size }];
    });
    await reader.close();
  });

  /** Writes a copy of the bundle with flipped bits at these positions. */
  function damage(to: string, positions: readonly number[], length = bytes.length): void {
    const copy = Buffer.from(bytes);
    for (const at of positions) copy[at] = (copy[at] ?? 0) ^ 0x10;
    writeFileSync(to, copy.subarray(0, length));
  }

  const isRestored = (): boolean => readFileSync(path).equals(bytes);
  const headEntry = (name: string): Place => head.get(name) ?? assert.fail(name);
  const large = (): Place[] => blobs.filter(({ size }) => size > 600);
  const at = (list: readonly Place[], index: number): Place => list.at(index) ?? assert.fail();
  const middle = ({ position, size }: Place): number => position + Math.floor(size / 2);
  const repairOne = (options: Parameters<typeof repairBundle>[1] = {}): ReturnType<typeof repairBundle> =>
    repairBundle(path, { jobs: 1, ...options });

  test('changes nothing in an intact bundle', async () => {
    copyFileSync(whole, path);
    const summary = await repairOne();
    assert.deepEqual(
      [summary.ok, summary.headBytes, summary.headers, summary.blobs, summary.missing],
      [true, 0, 0, 0, 0],
    );
    assert.equal(summary.sums, await sumsDigest(whole));
    assert.ok(isRestored());
  });

  test('rewrites headers, padding, the end and most of the head without any source', async () => {
    const padded = blobs.filter(({ size }) => size % 512 > 0);
    const positions = [
      ...['oci-layout', 'index.json', 'airlift/SHA512SUMS'].map((name) => middle(headEntry(name))),
      // The last line of the list, far behind that of the catalog.
      headEntry('airlift/SHA256SUMS').position + headEntry('airlift/SHA256SUMS').size - 70,
      ...[...head.values()].map(({ position }) => position - 400),
      start + 3,
      ...padded.slice(0, 9).map(({ position, size }) => position + size),
      ...blobs.slice(3, 12).map(({ position }) => position - 512 + 130),
      bytes.length - 1,
      bytes.length - 1000,
    ];
    // Each alone, and all together.
    for (const some of [...positions.map((one) => [one]), positions]) {
      damage(path, some);
      const summary = await repairOne();
      assert.ok(summary.ok);
      assert.ok(isRestored(), `not restored after damage at ${some.join(', ')}`);
    }
  });

  test('removes data behind the end', async () => {
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(9999, 'x')]));
    assert.ok((await repairOne()).ok);
    assert.ok(isRestored());
  });

  test('takes each blob from a copy that has it whole, even if all copies are damaged', async () => {
    const [one, two, three] = [at(large(), 0), at(large(), 3), at(large(), -1)];
    const copies = [join(dir, 'a.tar'), join(dir, 'b.tar')];
    damage(path, [middle(one), middle(two), middle(three)]);
    // The first copy lacks its catalog and two of the three blobs; the second one broke off.
    damage(at2(copies, 0), [middle(headEntry('airlift/catalog.db')), middle(two), middle(three)]);
    damage(at2(copies, 1), [middle(one)], three.position + 100);
    const partly = await repairOne({ from: copies });
    assert.equal(partly.ok, false);
    assert.deepEqual([partly.blobs, partly.missing], [2, 1]);
    assert.equal(partly.firstMissing[0]?.digest, three.name);
    assert.ok((partly.firstMissing[0]?.images.length ?? 0) > 0);
    const whole3 = await repairOne({ from: [whole] });
    assert.deepEqual([whole3.ok, whole3.blobs], [true, 1]);
    assert.ok(isRestored());
  });

  const at2 = (list: readonly string[], index: number): string => list[index] ?? assert.fail();

  test('extends a truncated bundle', async () => {
    const cuts = [
      at(blobs, -1).position + 1,
      at(blobs, -4).position - 300,
      at(blobs, 0).position,
      start,
      bytes.length - 700,
    ];
    for (const length of cuts) {
      damage(path, [], length);
      const summary = await repairOne({ from: [whole] });
      assert.ok(summary.ok, `cut at ${length}`);
      assert.ok(isRestored(), `cut at ${length}`);
    }
  });

  test('takes the head from a copy of the same bundle, and from no other', async () => {
    const other = join(dir, 'other.tar');
    await writeBundle(other, everyKind().slice(0, 5));
    const catalog = headEntry('airlift/catalog.db');
    const list = headEntry('airlift/SHA256SUMS');
    // With a damaged manifest the catalog cannot be rebuilt.
    const isIndex = ({ position, size }: Place): boolean =>
      bytes.toString('latin1', position, position + Math.min(size, 500)).includes('vnd.oci.image.index.v1');
    const index = middle(blobs.find(isIndex) ?? assert.fail());
    damage(path, [middle(catalog), index]);
    await failsWith(repairOne(), 'damaged', /no source has a whole head/, /`from`/);
    await failsWith(repairOne({ from: [other] }), 'conflict', /whether .*other\.tar has the head/, /`sums`/);
    assert.ok(!isRestored());
    const summary = await repairOne({ from: [other, whole] });
    assert.equal(summary.headFrom, whole);
    assert.ok(isRestored());
    // Neither the catalog nor the list of digests is left to compare.
    damage(path, [middle(catalog), list.position + 70, middle(list), index]);
    await failsWith(repairOne({ from: [whole] }), 'conflict', /too little is left/);
    await failsWith(
      repairOne({ from: [whole], sums: at(blobs, 0).name as Digest }),
      'conflict',
      /too little/,
    );
    assert.ok((await repairOne({ from: [whole], sums: await sumsDigest(whole) })).ok);
    assert.ok(isRestored());
  });

  test('takes what a request asked for from a repair file', async () => {
    const [one, two] = [at(large(), 1), at(large(), -2)];
    const request = join(dir, 'site.request');
    const repair = join(dir, 'repair.tar');
    damage(path, [middle(one), middle(two), middle(headEntry('airlift/catalog.db'))], bytes.length);
    await verify(path, { jobs: 1, request });
    const exported = await exportRequested({ request, output: repair, from: [whole] });
    assert.deepEqual([exported.blobs, exported.head, exported.unavailableCount], [2, 'carried', 0]);
    const summary = await repairOne({ from: [repair] });
    assert.deepEqual([summary.ok, summary.blobs, summary.headFrom], [true, 2, repair]);
    assert.ok(isRestored());
  });

  test('writes a repair file that tar and sha256sum read', { skip: needs('tar', 'sha256sum') }, async () => {
    const out = (await run('tar', ['xf', join(dir, 'repair.tar'), '-C', dir])).stdout;
    assert.equal(out, '');
    const { stdout } = await run('sh', ['-c', `cd ${dir} && sha256sum --check --strict airlift/SHA256SUMS`]);
    assert.match(stdout, /airlift\/head: OK\n/);
    assert.equal(stdout.trimEnd().split('\n').length, 6 + 0);
  });

  test('resumes a repair file that was interrupted', async () => {
    const request = join(dir, 'site.request');
    const repair = join(dir, 'repair.tar');
    const want = readFileSync(repair);
    const again = join(dir, 'again.tar');
    for (const length of [100, 3000, want.length - 1500, want.length - 100]) {
      writeFileSync(`${again}.partial`, want.subarray(0, length));
      await exportRequested({ request, output: again, from: [whole], force: true });
      assert.ok(readFileSync(again).equals(want), `cut at ${length}`);
    }
    await failsWith(exportRequested({ request, output: again, from: [whole] }), 'exists', /already exists/);
  });

  test('refuses itself, other files and a repacked archive', { skip: needs('tar') }, async () => {
    copyFileSync(whole, path);
    await failsWith(repairOne({ from: [path] }), 'usage', /is the same file/);
    const text = join(dir, 'text');
    writeFileSync(text, 'some text');
    await failsWith(repairOne({ from: [text] }), 'input', /not a bundle/);
    await failsWith(repairBundle(text, {}), 'input', /not a bundle/);
    const unpacked = join(dir, 'unpacked');
    await run('mkdir', [unpacked]);
    await run('tar', ['xf', whole, '-C', unpacked]);
    const names = (await run('tar', ['tf', whole])).stdout.trimEnd().split('\n');
    const moved = [...names.slice(0, 6), ...names.slice(6).reverse()];
    await run('tar', ['-cf', path, '--format=gnu', '-C', unpacked, ...moved]);
    const before = readFileSync(path);
    await failsWith(repairOne({ from: [whole] }), 'damaged', /was repacked/);
    assert.ok(readFileSync(path).subarray(start).equals(before.subarray(start)));
  });

  test('never makes a whole blob bad: random damage, with a copy that is damaged elsewhere', async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (let round = 0; round < 12; round++) {
      const copy = join(dir, 'copy.tar');
      const hits = Array.from({ length: 6 }, () => start + random(bytes.length - start));
      const others = Array.from({ length: 6 }, () => start + random(bytes.length - start));
      damage(path, hits);
      damage(copy, others, round % 3 === 0 ? start + random(bytes.length - start) : bytes.length);
      const before = await verify(path, { jobs: 1 });
      const first = await repairOne({ from: [copy] });
      const left = await verify(path, { jobs: 1 });
      assert.equal(left.ok, first.ok);
      assert.equal(
        left.problems.length,
        first.missing +
          (first.ok ? 0 : left.problems.filter(({ thing }) => thing === 'end of archive').length),
      );
      const known = new Set(before.problems.map(({ thing }) => thing));
      for (const { thing } of left.problems) assert.ok(known.has(thing), thing);
      assert.ok((await repairOne({ from: [whole] })).ok);
      assert.ok(isRestored());
    }
  });

  test('continues after a break, wherever it comes', async () => {
    const hits = large().slice(0, 8).map(middle);
    truncateSync(path, 0);
    damage(path, hits, at(blobs, -3).position);
    const stop = new AbortController();
    let count = 0;
    await failsWith(
      repairOne({
        from: [whole],
        signal: stop.signal,
        onRepaired: () => void (++count === 3 && stop.abort()),
      }),
      'interrupted',
      /interrupted/,
    );
    assert.ok((await repairOne({ from: [whole] })).ok);
    assert.ok(isRestored());
  });
});

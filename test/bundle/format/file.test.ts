import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BundleFile } from '../../../src/bundle/format/file.js';
import { formatVolumeList } from '../../../src/bundle/format/volumes/list.js';
import { digestOf } from '../../../src/oci/digest.js';
import { temp } from '../../support/temp.js';

test('a stream that reuses memory keeps a chunk until the next but one is taken', async (t) => {
  const bytes = randomBytes(9_500_000);
  const path = join(temp(t), 'file');
  writeFileSync(path, bytes);
  const file = await BundleFile.open(path, 'r');
  t.after(() => file.close());
  const start = 12_345;
  const end = bytes.byteLength - 1;
  const buffers = new Set<ArrayBufferLike>();
  let previous: { readonly at: number; readonly chunk: Buffer } | undefined;
  let at = start;
  const check = ({ at, chunk }: NonNullable<typeof previous>): void =>
    assert.ok(chunk.equals(bytes.subarray(at, at + chunk.byteLength)));
  for await (const chunk of file.stream(start, end - start, {
    reusesMemory: true,
  }) as AsyncIterable<Buffer>) {
    // Lets the stream read as far ahead as it will.
    for (let turn = 0; turn < 20; turn++) await setImmediate();
    check({ at, chunk });
    if (previous !== undefined) check(previous);
    previous = { at, chunk };
    at += chunk.byteLength;
    buffers.add(chunk.buffer);
  }
  assert.equal(at, end);
  assert.ok(buffers.size < 5, `${buffers.size} buffers`);
});

/** Writes three volumes, and returns the path of the bundle. */
function threeVolumes(directory: string): string {
  const bundle = join(directory, 'site.tar');
  for (const [number, size] of [600, 600, 100].entries())
    writeFileSync(`${bundle}.00${number + 1}`, Buffer.alloc(size, number + 1));
  return bundle;
}

test('a new size of opened volumes cuts and extends each of them', async (t) => {
  const path = `${threeVolumes(temp(t))}.001`;
  const file = await BundleFile.open({ path, volumeDirs: [] }, 'r+');
  t.after(() => file.close());
  const volumes = (): Buffer[] => [1, 2, 3].map((number) => readFileSync(path.replace(/1$/, String(number))));
  await file.resize(700);
  assert.deepEqual(volumes(), [Buffer.alloc(600, 1), Buffer.alloc(100, 2), Buffer.alloc(0)]);
  await file.resize(1250);
  assert.deepEqual(volumes(), [
    Buffer.alloc(600, 1),
    Buffer.concat([Buffer.alloc(100, 2), Buffer.alloc(500)]),
    Buffer.alloc(50),
  ]);
});

test('bytes for a missing volume are an error, not lost', async (t) => {
  const path = threeVolumes(temp(t));
  const digest = digestOf(Buffer.alloc(0));
  const volumes = [600, 600, 100].map((size, at) => ({ name: `site.tar.00${at + 1}`, size, digest }));
  writeFileSync(`${path}.volumes`, formatVolumeList({ name: 'site.tar', size: 1300, digest, volumes }));
  rmSync(`${path}.002`);
  const file = await BundleFile.open({ path, volumeDirs: [], isPartial: true }, 'r+');
  t.after(() => file.close());
  assert.throws(() => file.writevSync([Buffer.alloc(10)], 595), /the volume of byte 600 is missing/);
});

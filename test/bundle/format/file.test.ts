import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BundleFile } from '../../../src/bundle/format/file.js';
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

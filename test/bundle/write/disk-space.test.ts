import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleFile } from '../../../src/bundle/format/file.js';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { multiPlatform } from '../../support/image-sets.js';
import { run } from '../../support/peers.js';
import { needsMount, smallDisk } from '../../support/small-disk.js';
import { temp } from '../../support/temp.js';
import { fill, options, plan, writeBundle, type Cargo } from '../write-bundle.js';

const cargo: Cargo[] = [
  { reference: 'registry.example/acme/web:1', image: multiPlatform({ name: 'web', bigBytes: 2_000_000 }) },
];

const skip = needsMount();

test('a disk that is too small is an error with both figures before any download', { skip }, async (t) => {
  const dir = await smallDisk(t, 3 * 1024 * 1024);
  const path = join(dir, 'a.tar');
  const writer = await BundleWriter.open(path, options);
  plan(writer, cargo);
  await assert.rejects(writer.layOut(), (error) => {
    assert.ok(isAirliftError(error, 'no-space'), String(error));
    assert.match(
      error.message,
      /not enough space on the disk; got [\d.]+ MiB \(\d+ bytes\) free, want [\d.]+ MiB \(\d+ bytes\)/,
    );
    return true;
  });
  await writer.close();
  assert.ok(!existsSync(path));
  // With more space the same call resumes with the same plan.
  await run('mount', ['-o', `remount,size=${64 * 1024 * 1024}`, dir]);
  const again = await BundleWriter.open(path, options);
  assert.equal(again.state, 'laid-out');
  await fill(again, cargo);
  await again.finish();
  const whole = join(temp(t), 'whole.tar');
  await writeBundle(whole, cargo);
  assert.ok(readFileSync(path).equals(readFileSync(whole)));
});

test('the bytes of an interrupted run count as available space', { skip }, async (t) => {
  const dir = await smallDisk(t, 8 * 1024 * 1024);
  const path = join(dir, 'a.tar');
  const first = await BundleWriter.open(path, options);
  plan(first, cargo);
  await first.layOut();
  await fill(first, cargo, { limit: 2 });
  await first.close();
  // Space for the rest, not for the complete file.
  writeFileSync(join(dir, 'other'), Buffer.alloc(1_200_000, 1));
  const second = await BundleWriter.open(path, options);
  await fill(second, cargo);
  await second.finish();
  assert.ok(existsSync(path));
});

test('a disk that fills up during the run is an error that tells how to resume', { skip }, async (t) => {
  const dir = await smallDisk(t, 8 * 1024 * 1024);
  const path = join(dir, 'a.tar');
  const writer = await BundleWriter.open(path, options);
  plan(writer, cargo);
  await writer.layOut();
  const other = join(dir, 'other');
  spawnSync('sh', ['-c', `cat /dev/zero > ${other}`]);
  const file = await BundleFile.open(writer.partialPath, 'r+');
  const [pending] = writer.pending();
  assert.throws(
    () => file.writevSync([Buffer.alloc(1_000_000, 1)], pending?.position ?? 0),
    (error) => {
      assert.ok(isAirliftError(error, 'no-space'), String(error));
      assert.match(error.hint ?? '', /run the same command again/);
      return true;
    },
  );
  await file.close();
  await writer.close();
  await run('rm', [other]);
  const again = await BundleWriter.open(path, options);
  assert.equal(again.state, 'laid-out');
  await fill(again, cargo);
  await again.finish();
  assert.ok(existsSync(path));
});

import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { filesBeside, env, slow, startExportSetup } from '../support/exporting.js';
import { multiPlatform } from '../support/image-sets.js';
import { needsMount, smallDisk } from '../support/small-disk.js';
import { temp } from '../support/temp.js';

const skip = needsMount();
const mebibyte = 1024 * 1024;

test(
  'an export whose disk fills up ends with a hint, and finishes after space is freed',
  { skip },
  async (t) => {
    const setup = await startExportSetup(t);
    const { proxy } = setup;
    for (const name of ['one', 'two']) await setup.push(name, multiPlatform({ name, bigBytes: 4_000_000 }));
    const disk = await smallDisk(t, 40 * mebibyte);
    const output = join(disk, 'site.tar');
    const args = [...setup.names('one', 'two'), '--no-referrers', '-j', '2'];
    const want = await setup.undisturbed(...args);
    proxy.log.clear();
    proxy.use(slow);
    const run = setup.start(...args, '-o', output);
    await setup.passed(run, 6_000_000);
    // Another program uses the space that the check has found.
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(join(disk, 'other'), Buffer.alloc(bavail * bsize - 3 * mebibyte, 1));
    const { code, stderr } = await run.ended;
    assert.equal(code, 1);
    assert.match(
      stderr,
      /site\.tar.*: no space left on the device.*\n {2}hint: free some space and run the same command again to resume/,
    );
    assert.ok(!existsSync(output));

    const early = await airlift(['export', ...args, '-o', output], { env, codes: [1] });
    assert.match(
      early.stderr,
      /not enough space on the disk; got .* free, want .*\n {2}hint: free some space/,
    );

    rmSync(join(disk, 'other'));
    proxy.heal();
    await airlift(['export', ...args, '-o', output], { env });
    assert.ok(readFileSync(output).equals(want));
    assert.deepEqual(filesBeside(output), []);
    // The bytes of two transfers that could not be written or were in sockets.
    assert.ok(proxy.log.sentAgain() <= 4 * mebibyte, `sent again: ${proxy.log.sentAgain()}`);
  },
);

test(
  'a disk without space for the journal is reported as full, and no files are left',
  { skip },
  async (t) => {
    const setup = await startExportSetup(t);
    await setup.push('one', multiPlatform({ name: 'one', bigBytes: 100_000 }));
    const disk = await smallDisk(t, 32 * 1024);
    const output = join(disk, 'site.tar');
    const { stderr } = await airlift(['export', ...setup.names('one'), '-o', output], { env, codes: [1] });
    assert.match(stderr, /no space left on the device|not enough space on the disk/);
    assert.match(stderr, /hint: free some space/);
    assert.ok(!existsSync(output));
  },
);

test('a full disk for the lock is reported as no space, and no lock is left', { skip }, async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('one', multiPlatform({ name: 'one', bigBytes: 100_000 }));
  const disk = await smallDisk(t, 32 * 1024);
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(join(disk, 'other'), Buffer.alloc(bavail * bsize, 1));
  const lock = join(disk, 'site.lock');
  const args = ['export', ...setup.names('one'), '-o', join(temp(t), 'site.tar'), '--lock', lock];
  const { stderr } = await airlift(args, { env, codes: [1] });
  assert.match(
    stderr,
    /write lock \S+site\.lock: no space left on the device \(ENOSPC\)\n {2}hint: free some space/,
  );
  assert.ok(!existsSync(lock));
});

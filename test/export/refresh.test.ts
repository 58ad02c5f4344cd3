import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { filesBeside, env, slow, startExportSetup, type ExportSetup } from '../support/exporting.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { temp, type Cleanup } from '../support/temp.js';

/** Bytes of an unfinished blob that may be downloaded twice: those after its last checkpoint, and those in sockets. */
const perTransfer = 2 * 1024 * 1024;
const transfers = 2;
const flags = ['--no-referrers', '-j', String(transfers)];

const layersOf = (image: TestImage): string[] =>
  [...image.blobs.values()].filter(({ size }) => size > 500_000).map(({ digest }) => digest);

const kept = multiPlatform({ name: 'kept', bigBytes: 3_000_000 });
const old = singlePlatform('linux/amd64', { name: 'old', bigBytes: 5_000_000 });
const fresh = singlePlatform('linux/amd64', { name: 'fresh', bigBytes: 4_000_000 });

/** Leaves the files of a run that was killed with most of its blobs written; then moves the tag. */
async function interruptExport(
  t: Cleanup,
  setup: ExportSetup,
): Promise<{ output: string; args: string[]; before: Buffer }> {
  const { proxy, names } = setup;
  const output = join(temp(t), 'site.tar');
  await setup.push('kept', kept);
  await setup.push('moving', old);
  const args = [...names('kept', 'moving'), ...flags];
  const before = await setup.undisturbed(...args);
  proxy.log.clear();
  proxy.use(slow);
  await setup.killAfter(11_000_000, ...args, '-o', output);
  proxy.heal();
  await setup.push('moving', fresh);
  return { output, args, before };
}

test('--refresh resolves tags again and downloads no blob twice', async (t) => {
  const setup = await startExportSetup(t);
  const { output, args } = await interruptExport(t, setup);
  await airlift(['export', ...args, '-o', output, '--refresh'], { env });
  const repeated = setup.proxy.log.sentAgain();
  assert.ok(repeated <= transfers * perTransfer, `sent again: ${repeated}`);
  const served = setup.proxy.log.served();
  for (const digest of [...layersOf(kept), ...layersOf(fresh)]) assert.ok(served.has(digest));
  assert.deepEqual(filesBeside(output), []);
  assert.ok(
    readFileSync(output).equals(await setup.undisturbed(...args)),
    'same bytes as a new export of the new tag',
  );
  await airlift(['verify', output]);
});

test('without --refresh the plan of the first run stays', async (t) => {
  const setup = await startExportSetup(t);
  const { output, args, before } = await interruptExport(t, setup);
  await airlift(['export', ...args, '-o', output], { env });
  assert.ok(readFileSync(output).equals(before), 'same bytes as an export of the old tag');
  for (const digest of layersOf(fresh)) assert.ok(!setup.proxy.log.served().has(digest));
});

test('another list is rejected with a hint, and accepted with --refresh, which keeps the blobs of both lists', async (t) => {
  const setup = await startExportSetup(t);
  const { output, args } = await interruptExport(t, setup);
  await setup.push('more', singlePlatform('linux/arm64', { name: 'more', bigBytes: 1_000_000 }));
  const longer = [...setup.names('more'), ...args];
  const refused = await airlift(['export', ...longer, '-o', output], { env, codes: [1] });
  assert.match(refused.stderr, /interrupted export of other content.*\n {2}hint: .*--refresh/);
  await airlift(['export', ...longer, '-o', output, '--refresh'], { env });
  const repeated = setup.proxy.log.sentAgain();
  assert.ok(repeated <= transfers * perTransfer, `sent again: ${repeated}`);
  assert.ok(readFileSync(output).equals(await setup.undisturbed(...longer)));
});

test('an export that is killed repeatedly while it refreshes ends with the same bytes and keeps its blobs', async (t) => {
  const setup = await startExportSetup(t);
  const { output, args } = await interruptExport(t, setup);
  setup.proxy.use(slow);
  const refresh = [...args, '-o', output, '--refresh'];
  for (const bytes of [300_000, 900_000]) await setup.killAfter(bytes, ...refresh);
  setup.proxy.heal();
  await airlift(['export', ...args, '-o', output], { env });
  const repeated = setup.proxy.log.sentAgain();
  assert.ok(repeated <= 3 * transfers * perTransfer, `sent again: ${repeated}`);
  assert.ok(readFileSync(output).equals(await setup.undisturbed(...args)));
});

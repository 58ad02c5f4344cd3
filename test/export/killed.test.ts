import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { filesBeside, env, slow, startExportSetup } from '../support/exporting.js';
import { singlePlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';

/** Bytes in flight of one transfer: since its last checkpoint, gathered for a write, and in sockets. */
const inFlight = 2 * 1024 * 1024;

test('a large blob that kill -9 interrupts repeatedly is downloaded once, except for bytes in flight', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('large', singlePlatform('linux/amd64', { name: 'large', bigBytes: 24_000_000 }));
  const args = [...setup.names('large'), '--no-referrers', '-j', '1'];
  const want = await setup.undisturbed(...args);
  setup.proxy.log.clear();
  const output = join(temp(t), 'site.tar');
  setup.proxy.use(slow);
  const pieces = [5_000_000, 6_000_000, 4_000_000];
  for (const bytes of pieces) await setup.killAfter(bytes, ...args, '-o', output);
  setup.proxy.heal();
  const { stdout } = await airlift(['export', ...args, '-o', output, '--json'], { env });
  const { fetchedBytes, resumedBytes } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
    fetchedBytes: number;
    resumedBytes: number;
  };
  const lost = pieces.length * inFlight;
  const again = setup.proxy.log.sentAgain();
  assert.ok(again <= lost, `sent again: ${again}`);
  assert.ok(resumedBytes >= 15_000_000 - lost, `resumed: ${resumedBytes}`);
  assert.ok(fetchedBytes + resumedBytes >= 24_000_000);
  assert.ok(readFileSync(output).equals(want));
  assert.deepEqual(filesBeside(output), []);
  await airlift(['verify', output]);
});

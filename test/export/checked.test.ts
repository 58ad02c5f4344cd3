import assert from 'node:assert/strict';
import { existsSync, openSync, readFileSync, writeSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { bytesOf } from '../support/content.js';
import { env, slow, startExportSetup } from '../support/exporting.js';
import { multiPlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';

test('an export fails and does not name the file if verify would reject the bundle', async (t) => {
  const setup = await startExportSetup(t);
  const image = multiPlatform({ name: 'checked', bigBytes: 3_000_000 });
  await setup.push('app', image);
  const output = join(temp(t), 'site.tar');
  const partial = `${output}.partial`;
  const args = [...setup.names('app'), '--no-referrers', '-o', output];
  const whole = await setup.undisturbed(...args.slice(0, 2));

  // The disk flips a bit of a manifest during the downloads.
  setup.proxy.use(slow);
  const run = setup.start(...args);
  await setup.passed(run, 1_000_000);
  const at = readFileSync(partial).indexOf(bytesOf([...image.manifests.values()][0] ?? assert.fail()));
  assert.ok(at > 0);
  const file = openSync(partial, 'r+');
  writeSync(file, '[', at);
  closeSync(file);
  setup.proxy.heal();
  const { code, stderr } = await run.ended;
  assert.equal(code, 4, stderr);
  assert.match(stderr, /finish \S+\.partial: verify would reject it: blobs\/sha256\/\w+: digest mismatch/);
  assert.match(stderr, /run the same command again/);
  assert.ok(!existsSync(output));

  // Following the hint solves the problem.
  await airlift(['export', ...args], { env });
  assert.deepEqual(readFileSync(output), whole);
  await airlift(['verify', output]);
});

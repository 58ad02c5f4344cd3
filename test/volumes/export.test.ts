import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkFileSize } from '../../src/bundle/write/file-limit.js';
import { BundleWriter } from '../../src/bundle/write/writer.js';
import { everyKind, fill, options, plan, writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { env, slow, startExportSetup } from '../support/exporting.js';
import { singlePlatform } from '../support/image-sets.js';
import { run } from '../support/peers.js';
import { temp } from '../support/temp.js';

test('an export in volumes that kill -9 interrupts repeatedly resumes, and is the plain bundle byte for byte', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('large', singlePlatform('linux/amd64', { name: 'large', bigBytes: 6_000_000 }));
  const args = [...setup.names('large'), '--no-referrers', '-j', '1'];
  const want = await setup.undisturbed(...args);
  const dir = temp(t);
  const output = join(dir, 'site.tar');
  const volumes = ['--volume-size', '1M', '-o', output];
  setup.proxy.use(slow);
  for (const bytes of [1_500_000, 2_000_000]) await setup.killAfter(bytes, ...args, ...volumes);
  assert.ok(existsSync(`${output}.partial.001`) && !existsSync(`${output}.001`));
  setup.proxy.heal();
  const other = await airlift(['export', ...args, '--volume-size', '2M', '-o', output], { env, codes: [1] });
  assert.match(other.stderr, /an interrupted export of other content exists; .* in volumes of 1048576 bytes/);
  const { stdout } = await airlift(['export', ...args, ...volumes, '--json'], { env });
  const done = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { resumedBytes: number; path: string };
  assert.ok(done.resumedBytes > 0, `resumed ${done.resumedBytes}`);
  assert.equal(done.path, `${output}.volumes`);
  const count = Math.ceil(want.length / 2 ** 20);
  const names = Array.from({ length: count }, (_, at) => `site.tar.${String(at + 1).padStart(3, '0')}`);
  assert.deepEqual(readdirSync(dir).sort(), [...names, 'site.tar.volumes']);
  assert.ok(Buffer.concat(names.map((name) => readFileSync(join(dir, name)))).equals(want));
  await airlift(['verify', done.path]);
  for (const name of names) await airlift(['verify', join(dir, name)]);
  const again = await airlift(['export', ...args, ...volumes], { env, codes: [1] });
  assert.match(again.stderr, /site\.tar\.volumes: already exists\n.*--force/);
});

test('blobs written in any order to volumes give the same bytes, also after the volumes got half of their names', async (t) => {
  const cargo = everyKind().slice(0, 3);
  const [dir, whole] = [temp(t), join(temp(t), 'whole.tar')];
  const output = join(dir, 'site.tar');
  await writeBundle(whole, cargo);
  const volumeSize = 100_000;
  await writeBundle(output, cargo, { volumeSize, reverse: true });
  await run('sh', ['-c', 'cat site.tar.[0-9]* | cmp - "$1"', 'sh', whole], { cwd: dir });
  // A new writer that is stopped after it renamed two volumes.
  const next = join(dir, 'next.tar');
  const writer = await BundleWriter.open(next, { ...options, volumeSize });
  plan(writer, cargo);
  await writer.layOut();
  await fill(writer, cargo);
  await writer.close();
  renameSync(join(dir, 'site.tar.volumes'), `${next}.partial.volumes`);
  for (const number of ['001', '002']) renameSync(`${next}.partial.${number}`, `${next}.${number}`);
  const resumed = await BundleWriter.open(next, { ...options, volumeSize });
  assert.equal(resumed.state, 'laid-out');
  assert.equal(await fill(resumed, cargo), 0);
  await resumed.finish();
  await run('sh', ['-c', 'cat next.tar.[0-9]* | cmp - "$1"', 'sh', whole], { cwd: dir });
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.includes('partial')),
    [],
  );
  assert.ok(statSync(`${next}.volumes`).size > 0);
});

test('a filesystem that cannot hold a file is an error with the flag to use', () => {
  const fat = { name: 'FAT32', maxFile: 2 ** 32 - 1 };
  assert.throws(() => checkFileSize('site.tar', 2 ** 32, fat, true), {
    message: 'write site.tar: FAT32 holds files of at most 4294967295 bytes; got volumes of 4294967296 bytes',
    hint: "`volumeSize: 'fat32'` writes volumes that fit",
  });
  assert.throws(() => checkFileSize('site.tar', 5e9, fat));
  checkFileSize('site.tar', 4294966784, fat, true);
});

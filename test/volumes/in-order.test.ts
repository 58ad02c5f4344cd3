import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { mountTypeOf } from '../../src/bundle/write/mount-type.js';
import { airliftProcess } from '../support/airlift.js';
import { env, slow, startExportSetup, type ExportSetup } from '../support/exporting.js';
import type { FileOperation } from '../support/fat-writes.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { run } from '../support/peers.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';

const preload = new URL('../support/fat-writes.js', import.meta.url).href;

/** The environment of a process that takes every filesystem for FAT32 and records its writes. */
function fat(log: string): Record<string, string> {
  return { ...env, NODE_OPTIONS: `--import=${preload}`, FAT_WRITES: log };
}

/** Returns the operations on files of a bundle while it was written, without those on other files. */
function operations(log: string, output: string): FileOperation[] {
  return readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as FileOperation)
    .filter(({ path }) => path.startsWith(`${output}.partial`) && /\.partial(\.\d{3})?$/.test(path));
}

/** Asserts that each file was written from its start to its end, every byte once, one file after the other. */
function assertInOrder(done: readonly FileOperation[], sizes: ReadonlyMap<string, number>): void {
  const written = new Map<string, number>();
  for (const { path, what, position, length } of done) {
    assert.notEqual(what, 'resize', `${path} to ${length} bytes`);
    if (what === 'create') {
      for (const [before, bytes] of written)
        assert.equal(bytes, sizes.get(before), `${path} after ${before}`);
      written.set(path, 0);
      continue;
    }
    assert.equal(position, written.get(path), path);
    written.set(path, position + length);
  }
  assert.deepEqual(written, sizes);
}

async function startSetup(t: Cleanup): Promise<{ setup: ExportSetup; args: string[] }> {
  const setup = await startExportSetup(t);
  await setup.push('large', singlePlatform('linux/amd64', { name: 'large', bigBytes: 3_000_000 }));
  await setup.push('several', multiPlatform({ name: 'several', bigBytes: 300_000, attestations: true }));
  return { setup, args: setup.names('large', 'several') };
}

describe('a bundle on a filesystem without holes', () => {
  test('volumes are created when they are reached, and every byte is written once, in order', async (t) => {
    const { setup, args } = await startSetup(t);
    const want = await setup.undisturbed(...args);
    const [dir, log] = [temp(t), join(temp(t), 'log')];
    const output = join(dir, 'site.tar');
    const volumeSize = 512 * 1024;
    await airliftProcess(['export', ...args, '--volume-size', '512K', '-o', output], { env: fat(log) });
    await run('sh', ['-c', 'cat site.tar.0* | cmp - "$1"', 'sh', stored(t, want)], { cwd: dir });
    const count = Math.ceil(want.length / volumeSize);
    const sizes = Array.from({ length: count }, (_, at): [string, number] => [
      `${output}.partial.${String(at + 1).padStart(3, '0')}`,
      Math.min(volumeSize, want.length - at * volumeSize),
    ]);
    assertInOrder(operations(log, output), new Map(sizes));
  });

  test('one file is written in the same way, also after kill -9', async (t) => {
    const { setup, args } = await startSetup(t);
    const want = await setup.undisturbed(...args);
    const [dir, log] = [temp(t), join(temp(t), 'log')];
    const output = join(dir, 'site.tar');
    setup.proxy.use(slow);
    const stopped = startAirlift(['export', ...args, '-o', output], { env: fat(log) });
    await setup.passed(stopped, 1_000_000);
    stopped.send('SIGKILL');
    await stopped.ended;
    assert.ok(existsSync(`${output}.partial`) && !existsSync(output));
    setup.proxy.heal();
    const before = setup.sentBytes();
    await airliftProcess(['export', ...args, '-o', output], { env: fat(log) });
    assert.ok(readFileSync(output).equals(want));
    assert.ok(setup.sentBytes() - before < want.length - 500_000, 'the rest only');
    const done = operations(log, output);
    assert.ok(done.every(({ what }) => what !== 'resize'));
    // Bytes that were written and not recorded before the kill are written again.
    let end = 0;
    let again = 0;
    for (const { position, length } of done.filter(({ what }) => what === 'write')) {
      assert.ok(position <= end, 'no hole');
      again += Math.max(0, Math.min(end, position + length) - position);
      end = Math.max(end, position + length);
    }
    assert.equal(end, want.length);
    assert.ok(again < 1_000_000, `${again} bytes twice`);
  });

  test('an import of archives into a bundle writes in order, too', async (t) => {
    const { setup, args } = await startSetup(t);
    const [dir, log] = [temp(t), join(temp(t), 'log')];
    const [archive, output] = [join(dir, 'archive.tar'), join(dir, 'site.tar')];
    const bundle = stored(t, await setup.undisturbed(...args));
    await airliftProcess(['save', bundle, '--format', 'oci-archive', '-o', archive]);
    await airliftProcess(['import', archive, '-o', output], { env: fat(log) });
    const size = readFileSync(output).length;
    assertInOrder(operations(log, output), new Map([[`${output}.partial`, size]]));
    await airliftProcess(['verify', output]);
  });
});

test(
  'the type of a mounted filesystem comes from the list of mounts',
  { skip: process.platform !== 'linux' },
  async () => {
    assert.equal(await mountTypeOf('/proc/self'), 'proc');
    assert.equal(await mountTypeOf('/nowhere'), undefined);
  },
);

/** Stores a bundle in a file of its own. */
function stored(t: Cleanup, bytes: Buffer): string {
  const path = join(temp(t), 'stored.tar');
  writeFileSync(path, bytes);
  return path;
}

/** Deltas and records of what was sent, when an export is stopped at any point. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { env, filesBeside, slow, startExportSetup } from '../support/exporting.js';
import { singlePlatform } from '../support/image-sets.js';
import { run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

const image = (name: string): ReturnType<typeof singlePlatform> =>
  singlePlatform('linux/amd64', { name, roots: ['base', 'tools'], bigBytes: 3_000_000 });

test('a delta that kill -9 interrupts is resumed: the same bytes as without interruption', async (t) => {
  const setup = await startExportSetup(t);
  for (const name of ['old', 'new']) await setup.push(name, image(name));
  const base = join(temp(t), 'old.tar');
  await airlift(['export', ...setup.names('old'), '-o', base], { env });
  const args = [...setup.names('old', 'new'), '--no-referrers', '--base', base];
  const want = await setup.undisturbed(...args);
  const output = join(temp(t), 'site.tar');
  setup.proxy.use(slow);
  for (const bytes of [400_000, 900_000]) await setup.killAfter(bytes, ...args, '-o', output);
  setup.proxy.heal();
  const other = await airlift(['export', ...args.slice(0, -2), '-o', output], { env, codes: [1] });
  assert.match(other.stderr, /--refresh/);
  await airlift(['export', ...args, '-o', output], { env });
  assert.ok(readFileSync(output).equals(want));
  assert.deepEqual(filesBeside(output), []);
});

test('kill -9 between the finished bundle and the record: the same command records it', async (t) => {
  const setup = await startExportSetup(t);
  for (const name of ['old', 'new']) await setup.push(name, image(name));
  const dir = temp(t);
  const record = join(dir, 'site.sent');
  for (const month of ['old', 'new']) {
    const output = join(dir, `${month}.tar`);
    const args = [...setup.names(month), '--no-referrers', '--sent', record, '-o', output];
    const before = existsSync(record) ? readFileSync(record, 'utf8') : undefined;
    setup.proxy.use(slow);
    const export_ = setup.start(...args);
    await setup.passed(export_, 200_000);
    assert.equal(
      existsSync(record) ? readFileSync(record, 'utf8') : undefined,
      before,
      'not recorded before',
    );
    // The export cannot read the record: it waits for a writer that never comes.
    if (before !== undefined) renameSync(record, `${record}.kept`);
    await run('mkfifo', [record]);
    setup.proxy.heal();
    await until('the bundle has its name', () => existsSync(output));
    export_.send('SIGKILL');
    assert.equal((await export_.ended).signal, 'SIGKILL');
    rmSync(record);
    if (before !== undefined) renameSync(`${record}.kept`, record);
    const bundle = readFileSync(output);
    const { stdout } = await airlift(['export', ...args], { env });
    assert.ok(stdout.includes(`added it to ${record}, for the next export with --sent`), stdout);
    assert.ok(readFileSync(output).equals(bundle));
    assert.ok(readFileSync(record, 'utf8').includes(`/acme/${month}:1 `));
    assert.deepEqual(filesBeside(output), []);
    const again = await airlift(['export', ...args], { env, codes: [1] });
    assert.match(again.stderr, /already exists/);
  }
  const { stdout } = await airlift(['inspect', join(dir, 'new.tar')]);
  assert.match(stdout, /a delta: it leaves out 2 layers/);
});

test('a record that cannot be written: the bundle stays, and the same command records it, also after it did', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('old', image('old'));
  const dir = temp(t);
  const [record, output] = [join(dir, 'site.sent'), join(dir, 'old.tar')];
  const args = ['export', ...setup.names('old'), '--no-referrers', '--sent', record, '-o', output];
  mkdirSync(`${record}.new`);
  const { stderr } = await airlift(args, { env, codes: [1] });
  assert.match(
    stderr,
    /site\.sent.*; the bundle .*old\.tar is complete\n {2}hint: run the same command again/,
  );
  assert.ok(existsSync(output) && !existsSync(record));
  const journal = `${output}.partial.journal`;
  copyFileSync(journal, `${dir}/journal`);
  rmSync(`${record}.new`, { recursive: true });
  await airlift(args, { env });
  const text = readFileSync(record, 'utf8');
  assert.match(text, /\/acme\/old:1 sha256:/);
  // As if the process had been killed after it wrote the record, and before it removed the journal.
  renameSync(`${dir}/journal`, journal);
  await airlift(args, { env });
  assert.equal(readFileSync(record, 'utf8'), text);
  assert.deepEqual(filesBeside(output), []);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { airlift, airliftPath, stateEnv } from '../support/airlift.js';
import { multiPlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

type End = 'no-reader' | 'full' | 'closed';

/** Runs airlift with one stream broken (reader gone, disk full or closed), and reads the other one. */
async function runWithout(
  lost: 'stdout' | 'stderr',
  end: End,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  const number = lost === 'stdout' ? 1 : 2;
  const redirect = { full: `${number}>/dev/full`, closed: `${number}>&-`, 'no-reader': '' }[end];
  const child = spawn(
    '/bin/sh',
    ['-c', `exec "$@" ${redirect}`, 'sh', process.execPath, airliftPath, ...args],
    {
      env: { ...process.env, ...stateEnv },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    },
  );
  if (end === 'no-reader') child[lost].destroy();
  let output = '';
  child[lost === 'stdout' ? 'stderr' : 'stdout'].on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, output };
}

const stack = /\n\s+at .*:\d+|node:internal|Unhandled/;

async function fixture(
  t: TestContext,
): Promise<{ dir: string; reference: string; bundle: string; list: string }> {
  const dir = temp(t);
  const host = await serveStore(t);
  await pushImage(host, 'team/app', '1', multiPlatform({ name: 'app', platforms: ['linux/amd64'] }));
  const bundle = join(dir, 'site.tar');
  const list = join(dir, 'list.txt');
  writeFileSync(list, `${host}/team/app:1\n`);
  await airlift(['export', '--images', list, '-o', bundle]);
  return { dir, reference: `${host}/team/app:1`, bundle, list };
}

test('a printing command ends silently if its reader is gone, and reports a full disk', async (t) => {
  const { reference, bundle, list } = await fixture(t);
  const commands = [
    ['list-images', list],
    ['list-images', list, '--json'],
    ['inspect', bundle],
    ['verify', bundle],
    ['index', 'inspect', reference],
    ['index', 'inspect', reference, '--raw'],
    ['export', reference, '--dry-run', '-q'],
    ['import', bundle, '--to', '127.0.0.1:1', '--dry-run'],
    ['save', bundle, '--format', 'oci-archive', '-o', '-', '-q'],
    ['--help'],
    ['export', '--help'],
    ['--version'],
  ];
  for (const args of commands) {
    const withoutReader = await runWithout('stdout', 'no-reader', args);
    assert.ok(
      withoutReader.code === 141 || withoutReader.code === 0,
      `${args.join(' ')}: ${withoutReader.code} ${withoutReader.output}`,
    );
    assert.equal(withoutReader.output.replace(/^warning: .*plain HTTP.*$/gm, '').trim(), '', args.join(' '));
    const full = await runWithout('stdout', 'full', args);
    assert.equal(full.code, 1, args.join(' '));
    assert.match(full.output, /ENOSPC/, args.join(' '));
    assert.doesNotMatch(full.output, stack);
    const closed = await runWithout('stdout', 'closed', args);
    assert.equal(closed.code, 0, `${args.join(' ')}: ${closed.output}`);
  }
});

test('a transfer continues after its output is closed, and prints a warning', async (t) => {
  const { dir, reference, bundle } = await fixture(t);
  const site = await serveStore(t);
  mkdirSync(join(dir, 'out'));
  for (const end of ['no-reader', 'full', 'closed'] as const)
    for (const json of [[], ['--json']]) {
      const output = join(dir, 'out', `${end}${json.length}.tar`);
      const commands = [
        ['export', reference, '-o', output],
        ['import', bundle, '--to', `${site}/${end}`],
        ['copy', reference, '--to', `${site}/copy${end}`],
      ];
      for (const args of commands) {
        const without = await runWithout('stdout', end, [...args, ...json]);
        assert.equal(without.code, 0, without.output);
        assert.doesNotMatch(without.output, stack);
        if (end !== 'closed')
          assert.match(
            without.output,
            /warning: write standard output: .*(EPIPE|ENOSPC).*the command itself succeeded/,
          );
      }
      assert.equal((await airlift(['verify', output])).code, 0);
      const silent = join(dir, 'out', `${end}${json.length}-silent.tar`);
      const { code } = await runWithout('stderr', end, ['export', reference, '-o', silent, ...json]);
      assert.equal(code, 0);
      assert.ok(existsSync(silent));
    }
});

test('a failure keeps its exit code when its output is lost', async (t) => {
  const { dir, bundle } = await fixture(t);
  for (const end of ['no-reader', 'full'] as const) {
    assert.equal((await runWithout('stderr', end, ['verify', join(dir, 'none.tar')])).code, 1);
    assert.equal((await runWithout('stderr', end, ['exprot'])).code, 2);
    assert.equal((await runWithout('stdout', end, ['verify', join(dir, 'none.tar'), '--json'])).code, 1);
    assert.equal((await runWithout('stdout', end, ['import', bundle])).code, 2);
  }
});

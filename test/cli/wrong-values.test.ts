import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { commandNames } from '../../src/cli/command-names.js';
import { parser } from '../../src/cli/main.js';
import { kebab, knownFlags } from '../../src/cli/values.js';
import { run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import type { Outcome } from './run-many.js';

const runMany = fileURLToPath(new URL('./run-many.js', import.meta.url));

/** An address without a listener. */
const closedPort = '127.0.0.1:1';

/** A command line for each command that fails quickly, without registry, network or terminal. */
const bases: Record<(typeof commandNames)[number], readonly string[]> = {
  export: [`${closedPort}/team/app:1`, '-o', 'site.tar', '--retries', '0'],
  inspect: ['none.tar'],
  verify: ['none.tar'],
  keygen: ['-o', 'none/export.key', '--unencrypted'],
  sign: ['none.tar', '--sign-with', 'cat'],
  report: ['none.tar', '-o', 'report.html'],
  repair: ['none.tar'],
  stow: ['none.tar', 'none'],
  split: ['none.tar', '--volume-size', 'fat32', '-o', 'out.tar'],
  join: ['none.tar.001', '-o', 'out.tar'],
  merge: ['none.tar', '-o', 'out.tar'],
  import: ['none.tar', '--to', closedPort, '--retries', '0'],
  copy: [`${closedPort}/team/app:1`, '--to', closedPort, '--retries', '0'],
  save: ['none.tar', '--format', 'oci-archive', '-o', 'out.tar'],
  load: ['none.tar', '--into', 'containerd', '--address', '/none/containerd.sock'],
  serve: ['none.tar'],
  prune: ['x'],
  inventory: [closedPort, '-o', 'site.receipt', '--retries', '0'],
  diff: ['old.tar', 'new.tar'],
  index: [],
  kit: ['--from', 'none', '-o', 'kit-out'],
  'index create': [`${closedPort}/a:1`, `${closedPort}/b:1`, '--retries', '0'],
  'index append': [`${closedPort}/a:1`, `${closedPort}/b:1`, '--retries', '0'],
  'index remove': [`${closedPort}/a:1`, 'linux/amd64', '--retries', '0'],
  'index merge': [`${closedPort}/a:1`, `${closedPort}/b:1`, '--retries', '0'],
  'index inspect': [`${closedPort}/a:1`, '--retries', '0'],
  'list-images': ['list.txt'],
  login: [closedPort, '-u', 'me', '--password-stdin', '--retries', '0'],
  logout: [closedPort],
};

interface Flags {
  readonly names: readonly string[];
  /** Flags without a value: a word that follows one is a positional argument. */
  readonly booleans: ReadonlySet<string>;
}

/** Returns the flags of a command, as yargs knows them when it refuses an unknown flag. */
async function flagsOf(command: string): Promise<Flags> {
  const words = [...command.split(' '), ...(bases[command as keyof typeof bases] ?? []), '--no-such-flag'];
  const built = await parser(words);
  let names: string[] = [];
  let booleans: string[] = [];
  const seen = new Error('seen');
  // yargs throws errors that it finds before its first await.
  const parse = async (): Promise<unknown> =>
    await built
      .fail(() => {
        const definitions = knownFlags(built);
        names = Object.keys(definitions.key).map(kebab);
        booleans = definitions.boolean.map(kebab);
        throw seen;
      })
      .parseAsync(words);
  await assert.rejects(parse, seen);
  const found = [...new Set(names)].filter((name) => !['help', 'h', 'version'].includes(name));
  if (command !== 'index') assert.ok(found.includes('json'), `${command}: ${found.join(' ')}`);
  return { names: found, booleans: new Set(booleans) };
}

const values = [
  '',
  'nonsense',
  '-',
  '99999999999999999999',
  '-1',
  '1e309',
  'a=b',
  '%',
  'folder',
  '/proc/self/mem',
];
/** Values for short flags and flags that `export` shares: the same code reads them. */
const someValues = ['', '-', 'folder'];
/** For flags without a value: every value is tried as a positional argument. */
const oneValue = ['nonsense'];

function* linesFor(
  command: string,
  { names, booleans }: Flags,
  shared: ReadonlySet<string>,
): Generator<string[]> {
  const base = [...command.split(' '), ...(bases[command as keyof typeof bases] ?? [])];
  for (const name of names) {
    const flag = name.length === 1 ? `-${name}` : `--${name}`;
    const isReadElsewhere = shared.has(name) || name.length === 1;
    const tried = booleans.has(name) ? oneValue : isReadElsewhere ? someValues : values;
    for (const value of tried) yield [...base, flag, value];
    yield [...base, flag];
    if (isReadElsewhere) continue;
    yield [...base, flag, '--json'];
    yield [...base, flag, 'nonsense', flag, 'nonsense'];
    yield [...base, `--no-${name}`];
    yield [...base, `--${name}.x=1`];
  }
  for (const value of values) {
    yield [...command.split(' '), value];
    yield [...base, value];
  }
  yield command.split(' ');
}

const fault =
  /\n\s+at .*:\d+|bug in airlift|uncaught|unhandled|TypeError|RangeError|is not a function|is not iterable|Cannot read prop|\[object |\bundefined\b/;

describe('no value of any flag causes a stack trace', () => {
  for (const command of commandNames)
    test(command, { timeout: 300_000 }, async (t) => {
      const dir = temp(t);
      mkdirSync(join(dir, 'folder'));
      writeFileSync(join(dir, 'list.txt'), `${closedPort}/team/app:1\n`);
      const shared = new Set(command === 'export' ? [] : (await flagsOf('export')).names);
      const lines = [...linesFor(command, await flagsOf(command), shared)];
      const file = join(dir, 'lines.json');
      writeFileSync(file, JSON.stringify(lines));
      const { stdout } = await run(process.execPath, [runMany, file], {
        cwd: dir,
        env: { HOME: dir, XDG_STATE_HOME: join(dir, 'state'), HTTP_PROXY: '', HTTPS_PROXY: '' },
        timeout: 300_000,
      });
      const outcomes = JSON.parse(stdout) as Outcome[];
      assert.equal(outcomes.length, lines.length);
      const wrong = outcomes.filter(
        ({ code, output }) =>
          code === 'no end' ||
          ![0, 1, 2, 3, 4].includes(code) ||
          fault.test(output) ||
          (code !== 0 && output === ''),
      );
      assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${lines.length}`);
    });
});

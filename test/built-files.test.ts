import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { hasBuiltinSqlite } from '../src/bundle/format/builtin-sqlite.js';
import { exitCodes } from '../src/cli/exit-codes.js';
import { projectFile } from './support/doc-examples.js';
import { startExportSetup } from './support/exporting.js';
import { multiPlatform } from './support/image-sets.js';
import { run } from './support/peers.js';
import { temp, type Cleanup } from './support/temp.js';

/** What esbuild writes about built files, paths relative to the project. */
interface Metafile {
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<
    Record<
      string,
      {
        readonly entryPoint?: string;
        readonly inputs: Readonly<Record<string, unknown>>;
        readonly imports: readonly {
          readonly path: string;
          readonly kind: string;
          readonly external?: true;
        }[];
      }
    >
  >;
}

interface Bundling {
  readonly commandLine: string;
  readonly workers: () => string[];
  readonly bundle: (entryPoints: string[], options?: object) => Promise<{ readonly metafile: Metafile }>;
}

const packageOf = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/;

/** Returns what is loaded at once with a built file: sources below `dist/src`, and names of libraries. */
function loadedWith(file: string, { outputs }: Metafile): Set<string> {
  const loaded = new Set<string>();
  const seen = new Set<string>();
  const load = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const output = outputs[path];
    assert.ok(output, path);
    for (const input of Object.keys(output.inputs))
      loaded.add(packageOf.exec(input)?.[1] ?? input.replace(/^dist\/src\//, ''));
    for (const { path: imported, kind, external } of output.imports)
      if (kind === 'import-statement' && external !== true) load(imported);
  };
  load(file);
  return loaded;
}

/** Returns the libraries among what is loaded. */
function librariesOf(loaded: Iterable<string>): string[] {
  return [...loaded].filter((name) => !name.endsWith('.js') && !name.startsWith('replacement:')).sort();
}

describe('built files', () => {
  let main: Metafile;
  let workers: Metafile;
  let workerNames: string[];

  before(async () => {
    const url = pathToFileURL(projectFile('.config/bundle.js')).href;
    const bundling = (await import(url)) as Bundling;
    workerNames = bundling.workers().map((path) => basename(path));
    [main, workers] = (
      await Promise.all([
        bundling.bundle([bundling.commandLine], { splitting: true }),
        bundling.bundle(bundling.workers()),
      ])
    ).map(({ metafile }) => metafile) as [Metafile, Metafile];
  });

  /** Returns what a command loads when it is named, besides what every command line loads. */
  function loadedBy(command: string): Set<string> {
    const file = Object.entries(main.outputs).find(
      ([, { entryPoint }]) => entryPoint === `dist/src/cli/${command}.js`,
    );
    assert.ok(file, command);
    return loadedWith(file[0], main);
  }

  test('lie in one directory, where workers are found', () => {
    const files = [...Object.keys(main.outputs), ...Object.keys(workers.outputs)];
    assert.deepEqual([...new Set(files.map((file) => file.replace(/[^/]*$/, '')))], ['dist/cli/']);
    assert.deepEqual(
      workerNames.filter((name) => !files.includes(`dist/cli/${name}`)),
      [],
    );
    const source = readdirSync(projectFile('src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => readFileSync(projectFile(join('src', file)), 'utf8'))
      .join('\n');
    const started = [...source.matchAll(/new URL\('\.\/([^']*)', import\.meta\.url\)/g)].map(
      ([, name]) => name,
    );
    assert.deepEqual(started.sort(), workerNames.sort());
  });

  test('load nothing of the library but helpers for --version and --help', () => {
    const loaded = loadedWith('dist/cli/main.js', main);
    const own = [...loaded].filter((file) => file.endsWith('.js') && !file.startsWith('cli/'));
    assert.deepEqual(
      own.filter((file) => /^(?:registry|bundle|archive|lists|index)/.test(file)),
      [],
    );
    assert.ok(librariesOf(loaded).includes('yargs'));
    assert.deepEqual(
      librariesOf(loaded).filter((name) =>
        /undici|sqlite|yaml|zstd|re2js|tar-stream|cli-progress/.test(name),
      ),
      [],
    );
  });

  test('load only the libraries that a command uses', () => {
    assert.deepEqual(librariesOf(loadedBy('inspect')), ['better-sqlite3']);
    for (const [command, unused] of [
      ['export', ['tar-stream', 'streamx']],
      ['verify', ['undici', 'yaml', 're2js', 'tar-stream']],
      ['import', ['re2js', 'tar-stream']],
      ['login', ['better-sqlite3', 're2js', 'tar-stream']],
      ['list-images', ['better-sqlite3', 'tar-stream']],
    ] as const) {
      const libraries = librariesOf(loadedBy(command));
      assert.deepEqual(
        unused.filter((name) => libraries.includes(name)),
        [],
        command,
      );
    }
  });

  test('of workers hold neither the command line nor databases', () => {
    for (const file of Object.keys(workers.outputs)) {
      const loaded = loadedWith(file, workers);
      assert.deepEqual(
        [...loaded].filter((name) => /^(?:cli\/|yargs|better-sqlite3)|catalog|journal/.test(name)),
        [],
        file,
      );
    }
  });

  test('are shipped with the licence of every library in them', async () => {
    const url = pathToFileURL(projectFile('.config/licenses.js')).href;
    const { licensesOf } = (await import(url)) as { licensesOf: (files: string[]) => string };
    const inputs = [main, workers].flatMap((metafile) => Object.keys(metafile.inputs));
    const text = licensesOf(inputs);
    const licensed = new Map(
      [...text.matchAll(/^-+\n(\S+) \S+ \((.*)\)$/gm)].map(([, name, id]) => [name, id]),
    );
    const libraries = new Set(inputs.flatMap((input) => packageOf.exec(input)?.[1] ?? []));
    assert.deepEqual([...licensed.keys()], [...libraries].sort());
    const known = new Set(['MIT', 'ISC', 'Apache-2.0', 'BSD-3-Clause', 'MIT AND BSD-3-Clause']);
    assert.deepEqual(
      [...licensed].filter(([, id = '']) => !known.has(id)),
      [],
    );
    assert.match(text, /Copyright \(c\) Matteo Collina and Undici contributors/);
  });
});

test('built files without any installed library run, with the SQLite of Node.js where it has one', async (t) => {
  const { bundle, commandLine } = (await import(
    pathToFileURL(projectFile('.config/bundle.js')).href
  )) as Bundling;
  const bin = program(t, [], undefined);
  const outdir = join(dirname(bin), '..', 'dist', 'cli');
  await bundle([commandLine], { splitting: true, write: true, outdir });
  const { push, names, undisturbed } = await startExportSetup(t);
  await push('web', multiPlatform({ name: 'web' }));
  const file = join(temp(t), 'web.tar');
  writeFileSync(file, await undisturbed(...names('web')));
  const { code, stdout, stderr } = await run(process.execPath, [bin, 'inspect', file], {
    codes: [0, exitCodes.failed],
  });
  if (hasBuiltinSqlite()) assert.match(stdout, /^\S+\/acme\/web:1 .*linux\/amd64/m);
  else
    assert.match(
      stderr,
      /^load better-sqlite3: its native part is missing .*\n {2}hint: .*npm rebuild better-sqlite3/m,
    );
  assert.equal(code, hasBuiltinSqlite() ? 0 : exitCodes.failed);
});

/** Makes a directory with bin/airlift.js and command lines that print where they are, and returns the path of the program. */
function program(t: Cleanup, commandLines: readonly string[], compiledAt: Date | undefined): string {
  const dir = temp(t);
  const bin = join(dir, 'bin', 'airlift.js');
  mkdirSync(join(dir, 'bin'));
  copyFileSync(projectFile('bin/airlift.js'), bin);
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }\n');
  for (const folder of commandLines) {
    mkdirSync(join(dir, folder), { recursive: true });
    const code = `export const parser = () => undefined;\nexport const main = async () => { console.log('${folder}'); return 0; };\n`;
    writeFileSync(join(dir, folder, 'main.js'), code);
  }
  if (compiledAt !== undefined) {
    const info = join(dir, 'dist', '.tsbuildinfo');
    writeFileSync(info, '');
    utimesSync(info, compiledAt, compiledAt);
  }
  return bin;
}

describe('bin/airlift.js', () => {
  const minute = 60_000;
  const cases = [
    { what: 'an installed package', at: undefined, folders: ['dist/cli'], runs: 'dist/cli' },
    { what: 'a built checkout', at: -minute, folders: ['dist/cli', 'dist/src/cli'], runs: 'dist/cli' },
    {
      what: 'a checkout compiled after it was built',
      at: minute,
      folders: ['dist/cli', 'dist/src/cli'],
      runs: 'dist/src/cli',
    },
    { what: 'a checkout that is only compiled', at: 0, folders: ['dist/src/cli'], runs: 'dist/src/cli' },
  ];
  for (const { what, at, folders, runs } of cases)
    test(`in ${what} runs ${runs}`, async (t) => {
      const bin = program(t, folders, at === undefined ? undefined : new Date(Date.now() + at));
      assert.equal((await run(process.execPath, [bin])).stdout, `${runs}\n`);
    });

  test('in a checkout that is not built says how to build it', async (t) => {
    const { stderr } = await run(process.execPath, [program(t, [], undefined)], { codes: [1] });
    assert.match(
      stderr,
      /^airlift: Cannot find module .*\n {2}hint: airlift cannot be loaded: .*npm run build\n$/,
    );
  });
});

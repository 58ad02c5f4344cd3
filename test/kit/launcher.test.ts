import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { busybox, needsBusybox } from '../support/busybox.js';
import { needs, run, type RunResult } from '../support/peers.js';
import { needsMount, smallDisk } from '../support/small-disk.js';
import { temp, type Cleanup } from '../support/temp.js';
import { machinePlatform, writeFakeKit } from './fake-kit.js';

/** Prints its arguments one per line, and its umask; ends with 7 if it is asked to. */
const printer = `[ "\${1:-}" != --version ] || { echo 1.2.3; exit 0; }
umask; for word in "$@"; do printf '<%s>\\n' "$word"; done; [ "\${1:-}" != fail ] || exit 7`;

const both = (script: string): Record<string, string> => ({ 'linux/amd64': script, 'linux/arm64': script });

interface Site {
  readonly launcher: string;
  readonly kit: string;
  readonly home: string;
  /** Runs the launcher. */
  start(
    args: readonly string[],
    options?: { codes?: number[]; env?: Record<string, string> },
  ): Promise<RunResult>;
}

/** Prepares a kit and a user without anything. */
function site(
  t: Cleanup,
  shell: readonly string[],
  scripts: Readonly<Record<string, string>> = both(printer),
): Site {
  const dir = temp(t);
  const home = join(dir, 'home of the user');
  const kit = join(dir, 'the medium', 'airlift');
  mkdirSync(home);
  const launcher = writeFakeKit(kit, scripts);
  const [program = 'sh', ...words] = shell;
  const start: Site['start'] = (args, { codes = [0], env = {} } = {}) =>
    run(program, [...words, launcher, ...args], {
      codes,
      env: { HOME: home, XDG_CACHE_HOME: undefined, AIRLIFT_KIT_DIR: undefined, ...env },
    });
  return { launcher, kit, home, start };
}

/** Returns the unpacked executable in a directory. */
function unpackedIn(directory: string): string {
  const names = readdirSync(directory).filter((name) => !name.endsWith('.checked'));
  assert.equal(names.length, 1, `${directory}: ${names.join(' ')}`);
  return join(directory, names[0] ?? '');
}

const shells: readonly (readonly [name: string, command: () => readonly string[], skip: string | false])[] = [
  ['sh', () => ['/bin/sh'], false],
  ['busybox sh', () => [busybox(machinePlatform) ?? '', 'sh'], needsBusybox()],
];

for (const [name, command, skip] of shells) {
  describe(`the launcher in ${name}`, { skip }, () => {
    test('unpacks the executable once and passes on arguments, umask and exit code', async (t) => {
      const { start, home } = site(t, command());
      const words = ['import', 'a b', '', '--to', "it's"];
      const { stdout } = await start(words);
      const mask = (await run('/bin/sh', ['-c', 'umask'], {})).stdout;
      assert.equal(stdout, `${mask}${words.map((word) => `<${word}>\n`).join('')}`);
      const kept = join(home, '.cache', 'airlift', 'kit');
      const program = unpackedIn(kept);
      const { ino, mode } = statSync(program);
      assert.equal(mode & 0o777, 0o700);
      assert.equal((await start(['fail'], { codes: [7] })).code, 7);
      assert.equal(statSync(unpackedIn(kept)).ino, ino);
    });

    test('takes --kit-dir anywhere in the command line', async (t) => {
      const { start, home } = site(t, command());
      const dir = join(home, 'other dir');
      const results = [
        await start(['--kit-dir', dir, 'verify', 'x']),
        await start(['verify', `--kit-dir=${dir}`, 'x']),
        await start(['verify', 'x'], { env: { AIRLIFT_KIT_DIR: dir } }),
      ];
      for (const { stdout } of results) assert.match(stdout, /^\d+\n<verify>\n<x>\n$/);
      unpackedIn(dir);
      assert.equal(existsSync(join(home, '.cache')), false);
      const { stderr } = await start(['verify', '--kit-dir'], { codes: [2] });
      assert.equal(stderr, 'airlift: --kit-dir: no directory\n');
    });

    test('checks the digest again when the executable has changed', async (t) => {
      const { start, home } = site(t, command());
      await start(['x']);
      const program = unpackedIn(join(home, '.cache', 'airlift', 'kit'));
      const { atime, mtime, size } = statSync(program);
      const changed = readFileSync(program, 'utf8').replace('<%s>', '!%s!');
      writeFileSync(program, changed);
      utimesSync(program, atime, mtime);
      assert.equal(statSync(program).size, size);
      assert.match((await start(['x'])).stdout, /<x>/);
      assert.match(readFileSync(program, 'utf8'), /<%s>/);
    });

    test('rejects a kit that is damaged or was changed, and leaves nothing behind', async (t) => {
      const { start, home, kit } = site(t, command());
      const packed = join(kit, `${machinePlatform.replace('/', '-')}.gz`);
      const original = readFileSync(packed);
      const dir = join(home, 'kept');
      writeFileSync(packed, gzipSync('#!/bin/sh\necho evil\n'));
      const other = await start(['--kit-dir', dir, 'x'], { codes: [1] });
      assert.match(
        other.stderr,
        /airlift: unpack .*: digest mismatch; got sha256:[0-9a-f]{64}, want sha256:[0-9a-f]{64}\n {2}hint: .*sha256sum -c/,
      );
      writeFileSync(packed, original);
      truncateSync(packed, original.byteLength - 12);
      const short = await start(['--kit-dir', dir, 'x'], { codes: [1] });
      assert.match(short.stderr, /airlift: unpack .*\n {2}hint: the kit is damaged/);
      assert.deepEqual(readdirSync(dir), []);
      assert.equal(other.stdout + short.stdout, '');
    });

    test('does not use a directory that another user controls', async (t) => {
      const { start, home } = site(t, command());
      const real = join(home, 'real');
      mkdirSync(real, { mode: 0o700 });
      const link = join(home, 'link');
      symlinkSync(real, link);
      const open = join(home, 'open');
      mkdirSync(open);
      chmodSync(open, 0o777);
      const cases: [string, RegExp][] = [
        [link, /not used, because it is a symbolic link/],
        [open, /not used, because other users can write to it/],
      ];
      if (process.getuid?.() === 0) {
        const foreign = join(home, 'foreign');
        mkdirSync(foreign, { mode: 0o755 });
        chownSync(foreign, 65534, 65534);
        cases.push([foreign, /not used, because it belongs to user 65534/]);
      }
      for (const [dir, why] of cases) {
        const { stderr } = await start(['--kit-dir', dir, 'x'], { codes: [1] });
        assert.match(stderr, why);
        assert.match(stderr, /hint: name a directory .*--kit-dir DIR/);
        assert.deepEqual(readdirSync(dir), []);
      }
      mkdirSync(join(home, 'cache', 'airlift'), { recursive: true });
      symlinkSync(real, join(home, 'cache', 'airlift', 'kit'));
      const { stdout } = await start(['x'], { env: { XDG_CACHE_HOME: join(home, 'cache') } });
      assert.match(stdout, /<x>/);
      unpackedIn(join(home, '.cache', 'airlift', 'kit'));
      assert.deepEqual(readdirSync(real), []);
    });

    test('explains why an executable does not run', async (t) => {
      const says = async (words: string, code: number): Promise<string> => {
        const { start, home } = site(t, command(), both(`echo "$0: ${words}" >&2; exit ${code}`));
        return (await start(['--kit-dir', join(home, 'kept'), 'x'], { codes: [1] })).stderr;
      };
      assert.match(
        await says(
          'error while loading shared libraries: libstdc++.so.6: cannot open shared object file',
          127,
        ),
        /lacks a library.*\n {2}hint: install libstdc\+\+/,
      );
      assert.match(
        await says("/lib64/libc.so.6: version 'GLIBC_2.28' not found (required by airlift)", 1),
        /too old.*\n {2}hint: airlift needs glibc 2\.28/,
      );
      assert.match(await says('not found', 127), /has no glibc.*\n {2}hint: Alpine .*airlift kit --image/);
      assert.match(
        await says('Operation not permitted', 126),
        /does not allow to run it\n {2}hint: .*\n {2}hint: .*fapolicyd/,
      );
      assert.match(await says('something else', 3), /does not run \(exit code 3\): .*something else/);
    });

    test('names the next step where no program may run', { skip: needsMount() }, async (t) => {
      const { start } = site(t, command());
      const disk = await smallDisk(t, 1 << 20);
      await run('mount', ['-o', 'remount,noexec', disk]);
      const { stderr } = await start(['--kit-dir', join(disk, 'kit'), 'x'], { codes: [1] });
      assert.match(
        stderr,
        /programs in it cannot be run \(mounted noexec, or an allow-list of programs\)\n {2}hint: .*--kit-dir/,
      );
    });

    test('names the space that a full filesystem lacks', { skip: needsMount() }, async (t) => {
      const { start } = site(t, command());
      const disk = await smallDisk(t, 512 * 1024);
      const { stderr } = await start(['--kit-dir', join(disk, 'kit'), 'x'], { codes: [1] });
      assert.match(stderr, /not enough space; got 0 MiB, want 1 MiB\n/);
    });
  });
}

/** Returns a PATH with the programs of this machine, some of them replaced by scripts or removed. */
function pathWith(t: Cleanup, replaced: Readonly<Record<string, string | undefined>>): string {
  const dir = temp(t);
  for (const folder of ['/usr/bin', '/bin'])
    for (const name of [
      'sh',
      'gzip',
      'sha256sum',
      'openssl',
      'uname',
      'id',
      'stat',
      'ls',
      'df',
      'mkdir',
      'rm',
      'mv',
      'chmod',
      'cat',
    ])
      if (!(name in replaced) && existsSync(join(folder, name)) && !existsSync(join(dir, name)))
        symlinkSync(join(folder, name), join(dir, name));
  for (const [name, script] of Object.entries(replaced))
    if (script !== undefined) writeFileSync(join(dir, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return dir;
}

test('the launcher takes the executable for the machine', async (t) => {
  const { start } = site(t, ['/bin/sh'], { 'linux/amd64': 'echo x86', 'linux/arm64': 'echo arm' });
  const on = (machine: string, system = 'Linux'): string =>
    pathWith(t, { uname: `case $1 in -m) echo ${machine};; *) echo ${system};; esac` });
  assert.equal((await start(['x'], { env: { PATH: on('x86_64') } })).stdout, 'x86\n');
  assert.equal((await start(['x'], { env: { PATH: on('aarch64') } })).stdout, 'arm\n');
  const other = await start(['x'], { codes: [1], env: { PATH: on('armv7l') } });
  assert.match(
    other.stderr,
    /no airlift for this machine \(Linux armv7l\); it has linux\/amd64, linux\/arm64\n {2}hint: /,
  );
  const mac = await start(['x'], { codes: [1], env: { PATH: on('arm64', 'Darwin') } });
  assert.match(mac.stderr, /no airlift for this machine \(Darwin arm64\)/);
});

test('the launcher computes digests with openssl where sha256sum is missing, and names both where neither exists', async (t) => {
  const { start } = site(t, ['/bin/sh']);
  const { stdout } = await start(['x'], { env: { PATH: pathWith(t, { sha256sum: undefined }) } });
  assert.match(stdout, /<x>/);
  const none = { PATH: pathWith(t, { sha256sum: undefined, openssl: undefined }) };
  assert.match((await start(['x'], { codes: [1], env: none })).stderr, /no program computes SHA-256/);
});

test('the launcher needs neither stat nor a boot identifier', async (t) => {
  const { start, home } = site(t, ['/bin/sh']);
  const env = { PATH: pathWith(t, { stat: undefined }) };
  for (let turn = 0; turn < 2; turn++) assert.match((await start(['x'], { env })).stdout, /<x>/);
  const kept = join(home, '.cache', 'airlift', 'kit');
  assert.deepEqual(
    readdirSync(kept).filter((name) => name.endsWith('.checked')),
    [],
  );
});

test(
  'what root unpacks into a named directory runs for all users',
  { skip: needs('setpriv') || (process.getuid?.() !== 0 && 'requires root') },
  async (t) => {
    const { start, home, launcher } = site(t, ['/bin/sh']);
    for (const dir of [home, join(home, '..'), join(home, '..', 'the medium')]) chmodSync(dir, 0o755);
    const dir = join(home, 'opt');
    await start(['--kit-dir', dir, 'x']);
    assert.equal(statSync(unpackedIn(dir)).mode & 0o777, 0o755);
    const { stdout } = await run(
      'setpriv',
      ['--reuid', '65534', '--regid', '65534', '--clear-groups', '/bin/sh', launcher, '--kit-dir', dir, 'x'],
      {},
    );
    assert.match(stdout, /<x>/);
  },
);

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectory } from '../../src/io/directories.js';
import { airlift, airliftPath } from '../support/airlift.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

const linux = process.platform === 'linux' ? false : 'Linux only';

test(
  'makeDirectory fails if a parent neither exists nor can be created',
  { skip: linux, timeout: 10_000 },
  async (t) => {
    const dir = temp(t);
    writeFileSync(join(dir, 'file'), '');
    symlinkSync(join(dir, 'nowhere'), join(dir, 'link'));
    for (const path of [
      '/proc/1/nope/a/b',
      join(dir, 'file', 'a'),
      join(dir, 'link', 'a'),
      join(dir, 'file'),
    ])
      await assert.rejects(makeDirectory(path), /E(NOENT|NOTDIR|EXIST|ACCES)/, path);
    await makeDirectory(join(dir, 'a', 'b', 'c'));
    await makeDirectory(join(dir, 'a', 'b', 'c'));
    await makeDirectory('/');
    assert.ok(existsSync(join(dir, 'a', 'b', 'c')));
  },
);

test('an unusable home directory causes one warning and disables the cache', { skip: linux }, async (t) => {
  const dir = temp(t);
  const host = await serveStore(t);
  await pushImage(host, 'team/app', '1', multiPlatform({ name: 'app', platforms: ['linux/amd64'] }));
  const archive = join(dir, 'app.tar');
  await airlift(['save', `${host}/team/app:1`, '--format', 'docker-archive', '-o', archive]);
  mkdirSync(join(dir, 'dangling'));
  for (const name of ['.cache', '.local', '.config', '.docker'])
    symlinkSync('/nowhere/at/all', join(dir, 'dangling', name));
  writeFileSync(join(dir, 'file'), '');
  const none = { XDG_CACHE_HOME: '', XDG_STATE_HOME: '', XDG_CONFIG_HOME: '', XDG_RUNTIME_DIR: '' };
  const places: readonly (readonly [Record<string, string>, number])[] = [
    [{ HOME: '/dev/null' }, 1],
    [{ HOME: '/proc/1/nope' }, 1],
    [{ HOME: 'relative' }, 1],
    [{ HOME: join(dir, 'dangling') }, 1],
    [{ HOME: dir, XDG_CACHE_HOME: '/dev/null' }, 1],
    [{ HOME: dir, XDG_CACHE_HOME: join(dir, 'file'), XDG_STATE_HOME: '/proc/1/nope' }, 1],
    [{ HOME: dir, XDG_CONFIG_HOME: join(dir, 'file'), XDG_RUNTIME_DIR: '/dev/null' }, 0],
    [{ HOME: dir, XDG_CACHE_HOME: 'relative', XDG_STATE_HOME: 'relative', XDG_CONFIG_HOME: 'relative' }, 0],
  ];
  for (const [env, warnings] of places) {
    const what = JSON.stringify(env);
    const { stderr } = await airlift(['import', archive, '--to', `${host}/again`, '-q'], {
      env: { ...none, ...env },
      cwd: dir,
      timeout: 60_000,
    });
    assert.equal(
      stderr.split('\n').filter((line) => /^warning:/.test(line)).length,
      warnings,
      `${what}: ${stderr}`,
    );
    await airlift(['export', `${host}/team/app:1`, '--dry-run', '-q'], {
      env: { ...none, ...env },
      cwd: dir,
    });
  }
  assert.ok(!readdirSync(dir).includes('relative'), 'nothing is made below the working directory');
});

test(
  'an unnamed user and unreadable configuration files cause no failure',
  { skip: needs('setpriv') || (process.getuid?.() !== 0 && 'requires root') },
  async (t) => {
    const dir = temp(t);
    const host = await serveStore(t);
    await pushImage(host, 'team/app', '1', multiPlatform({ name: 'app', platforms: ['linux/amd64'] }));
    const home = join(dir, 'home');
    mkdirSync(join(home, '.docker'), { recursive: true });
    mkdirSync(join(home, '.config', 'containers', 'registries.conf.d'), { recursive: true });
    for (const file of ['.docker/config.json', '.config/containers/registries.conf'])
      writeFileSync(join(home, file), '{}', { mode: 0o600 });
    const asNobody = ['--reuid', '4711', '--regid', '4711', '--clear-groups'];
    const command = [process.execPath, airliftPath, 'export', `${host}/team/app:1`, '--dry-run', '-q'];
    const bare = await run('setpriv', [...asNobody, 'env', '-u', 'HOME', ...command]);
    assert.equal(bare.code, 0);
    await run('chmod', ['-R', 'go+rx', dir]);
    for (const file of ['.docker/config.json', '.config/containers/registries.conf'])
      await run('chmod', ['600', join(home, file)]);
    const closed = await run('setpriv', [...asNobody, 'env', `HOME=${home}`, ...command]);
    assert.match(closed.stderr, /registries\.conf: .*; it is ignored/);
    const login = [process.execPath, airliftPath, 'login', host, '-u', 'me', '--password-stdin'];
    const refused = await run('setpriv', [...asNobody, 'env', `HOME=${home}`, ...login], {
      codes: [1],
      input: 'secret',
    });
    assert.match(refused.stderr, /(write|read) auth file .*\n +hint: pass another file with --authfile/);
    const output = join(dir, 'closed');
    mkdirSync(output, { mode: 0o755 });
    const unwritable = await run(
      'setpriv',
      [...asNobody, 'env', 'HOME=/', ...command.slice(0, 4), '-o', join(output, 'site.tar')],
      { codes: [1] },
    );
    assert.match(
      unwritable.stderr,
      /write into .*closed: permission denied \(EACCES\)\n +hint: check the permissions/,
    );
  },
);

import assert from 'node:assert/strict';
import { chmod, lstat, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, it } from 'node:test';
import { removeLogin, saveLogin } from '../../../src/registry/auth/login.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { needs, run } from '../../support/peers.js';
import { temp } from '../../support/temp.js';
import { testClient } from '../client.js';
import { pushImage, smallImage } from '../content.js';

const jane = { kind: 'password', username: 'jane', password: 'pa55:wörd' } as const;
const encoded = Buffer.from('jane:pa55:wörd').toString('base64');

async function read(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8')) as unknown;
}

it('writes a file that only its owner may read, and leaves no temporary file', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'new', 'auth.json');
  assert.deepEqual(await saveLogin(path, 'h.test:5000', jane), { authFile: path, helper: undefined });
  assert.deepEqual(await read(path), { auths: { 'h.test:5000': { auth: encoded } } });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(join(dir, 'new'))).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(join(dir, 'new')), ['auth.json']);
});

it('keeps unknown fields, replaces its entry under any name, and restricts the permissions of the file', async (t) => {
  const path = join(temp(t), 'config.json');
  const other = { auth: 'eA==', email: 'x' };
  await writeFile(
    path,
    JSON.stringify({
      auths: { 'docker.io': { auth: 'old' }, 'h.test/team': other },
      HttpHeaders: { a: 'b' },
    }),
    { mode: 0o644 },
  );
  await saveLogin(path, 'docker.io', jane);
  await saveLogin(path, 'h.test', { kind: 'identity-token', token: 'refresh' });
  assert.deepEqual(await read(path), {
    auths: {
      'h.test/team': other,
      'https://index.docker.io/v1/': { auth: encoded },
      'h.test': { auth: Buffer.from('<token>:').toString('base64'), identitytoken: 'refresh' },
    },
    HttpHeaders: { a: 'b' },
  });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await removeLogin(path, 'docker.io'), { authFile: path, helper: undefined });
  assert.equal(await removeLogin(path, 'docker.io'), undefined);
  await removeLogin(path, 'h.test');
  assert.deepEqual(await read(path), { auths: { 'h.test/team': other }, HttpHeaders: { a: 'b' } });
});

it('replaces the target of a symbolic link', async (t) => {
  const dir = temp(t);
  await writeFile(join(dir, 'real.json'), '');
  await symlink('real.json', join(dir, 'link.json'));
  await saveLogin(join(dir, 'link.json'), 'h.test', jane);
  assert.equal((await lstat(join(dir, 'link.json'))).isSymbolicLink(), true);
  assert.deepEqual(await read(join(dir, 'real.json')), { auths: { 'h.test': { auth: encoded } } });
});

it('does not overwrite a file that it cannot read', async (t) => {
  const path = join(temp(t), 'auth.json');
  await writeFile(path, '{"auths": ');
  await assert.rejects(saveLogin(path, 'h.test', jane), { code: 'input' });
  assert.equal(await readFile(path, 'utf8'), '{"auths": ');
});

it('stores credentials in the helper that the file names', async (t) => {
  const dir = temp(t);
  const helper = join(dir, 'docker-credential-airlift-keep');
  await writeFile(helper, `#!/bin/sh\ncat > "${dir}/$1"\n`);
  await chmod(helper, 0o755);
  const before = process.env['PATH'];
  process.env['PATH'] = `${dir}${delimiter}${before ?? ''}`;
  t.after(() => {
    process.env['PATH'] = before;
  });
  const path = join(dir, 'config.json');
  await writeFile(path, JSON.stringify({ credsStore: 'airlift-keep' }));
  const place = { authFile: path, helper: 'docker-credential-airlift-keep' };
  assert.deepEqual(await saveLogin(path, 'h.test', jane), place);
  assert.deepEqual(await read(path), { credsStore: 'airlift-keep', auths: { 'h.test': {} } });
  assert.deepEqual(await read(join(dir, 'store')), {
    ServerURL: 'h.test',
    Username: 'jane',
    Secret: 'pa55:wörd',
  });
  assert.deepEqual(await removeLogin(path, 'h.test'), place);
  assert.equal(await readFile(join(dir, 'erase'), 'utf8'), 'h.test');
  assert.deepEqual(await read(path), { credsStore: 'airlift-keep', auths: {} });
});

describe('with skopeo', { skip: needs('docker-registry', 'htpasswd', 'skopeo') }, () => {
  it('reads what skopeo login wrote, and skopeo reads what airlift wrote', async (t) => {
    const dir = temp(t);
    const server = await startDockerRegistry({ htpasswd: { user: 'jane', password: 'pa55:word' } });
    t.after(() => server.stop());
    const ours = join(dir, 'ours.json');
    const theirs = join(dir, 'theirs.json');
    await run(
      'skopeo',
      [
        ...[
          'login',
          '--tls-verify=false',
          '--authfile',
          theirs,
          '-u',
          'jane',
          '--password-stdin',
          server.host,
        ],
      ],
      { input: 'pa55:word' },
    );
    const name = { registry: server.host, repository: 'a/b' };
    const image = smallImage('login');
    const { registry } = testClient(t, { authFiles: [theirs] });
    await registry.checkLogin(server.host);
    await pushImage(registry, name, '1', image);

    await saveLogin(ours, server.host, { kind: 'password', username: 'jane', password: 'pa55:word' });
    const inspect = ['inspect', '--raw', '--tls-verify=false', `docker://${server.host}/a/b:1`];
    const shown = await run('skopeo', [...inspect, '--authfile', ours]);
    assert.deepEqual(shown.bytes, image.index.bytes);
    const user = await run('skopeo', ['login', '--get-login', '--authfile', ours, server.host]);
    assert.equal(user.stdout.trim(), 'jane');

    await run('skopeo', ['logout', '--authfile', ours, server.host]);
    await assert.rejects(testClient(t, { authFiles: [ours] }).registry.checkLogin(server.host), {
      code: 'unauthorized',
      message: `log in to ${server.host}: unauthorized (401)`,
    });
    await removeLogin(theirs, server.host);
    assert.notEqual((await run('skopeo', [...inspect, '--authfile', theirs], { codes: [1] })).code, 0);
  });
});

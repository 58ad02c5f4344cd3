import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome, type Home } from '../support/home.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

const user = 'courier';
const password = 'Kaffee & Kuchen: 7 €';
const identityToken = 'id-t0ken+of/the=courier';
const image = multiPlatform({ name: 'login' });

const auth = (name: string, secret: string): { auth: string } => ({
  auth: Buffer.from(`${name}:${secret}`).toString('base64'),
});

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(value));
}

type Get = (name: string, env: Home['env'], ...flags: string[]) => Promise<boolean>;

/** Reports whether airlift can read an index with the logins of `env`. */
const airliftGets: Get = async (name, env, ...flags) =>
  (await airlift(['index', 'inspect', name, ...flags], { env, codes: [0, 1] })).code === 0;

const skopeoGets: Get = async (name, env, ...flags) => {
  const args = ['inspect', '--raw', '--tls-verify=false', ...flags, `docker://${name}`];
  return (await run('skopeo', args, { env, codes: [0, 1] })).code === 0;
};

/** Reports whether airlift and skopeo can read an index; fails if they differ. */
const bothGet: Get = async (name, env, ...flags) => {
  const got = {
    airlift: await airliftGets(name, env, ...flags),
    skopeo: await skopeoGets(name, env, ...flags),
  };
  assert.equal(got.airlift, got.skopeo, `${name}: ${JSON.stringify(got)}`);
  return got.airlift;
};

describe('auth files, compared with skopeo', { skip: needs('docker-registry', 'htpasswd', 'skopeo') }, () => {
  let registry: DockerRegistry;
  let name: string;

  before(async () => {
    registry = await startDockerRegistry({ htpasswd: { user, password } });
    for (const repository of ['acme/app', 'team/app'])
      await pushImage(registry.host, repository, '1', image, { user, password });
    name = `${registry.host}/acme/app:1`;
  });
  after(() => registry?.stop());

  const login = (env: Home['env'], to = registry.host, ...flags: string[]): Promise<unknown> =>
    airlift(['login', to, '-u', user, '--password-stdin', ...flags], { env, input: password });

  test('the first auth file with a login wins', async (t) => {
    const home = newHome(t);
    const dockerConfig = join(home.dir, 'docker-config');
    const places: [file: string, more: Record<string, string | undefined>][] = [
      [join(home.dir, 'told.json'), { REGISTRY_AUTH_FILE: join(home.dir, 'told.json') }],
      [join(home.dir, 'run', 'containers', 'auth.json'), {}],
      [join(home.dir, '.config', 'containers', 'auth.json'), {}],
      [join(dockerConfig, 'config.json'), { DOCKER_CONFIG: dockerConfig }],
      [home.dockerConfig, { DOCKER_CONFIG: undefined }],
    ];
    for (const [file] of places) writeJson(file, { auths: { [registry.host]: auth(user, 'wrong') } });
    for (const [at, [file, more]] of places.entries()) {
      // Earlier files have no login for this registry; later files have a wrong one.
      const env = { ...home.env, ...places[3]?.[1], ...(at === 0 ? places[0]?.[1] : {}), ...more };
      writeJson(file, { auths: { [registry.host]: auth(user, password) } });
      assert.equal(await bothGet(name, env), true, `the login in ${file} is used`);
      writeJson(file, { auths: { 'other.test': auth(user, password) } });
    }
  });

  test('a login for a namespace applies only to that namespace', async (t) => {
    const { env, dockerConfig } = newHome(t);
    await login(env, `${registry.host}/team`);
    assert.deepEqual(
      Object.keys((JSON.parse(readFileSync(dockerConfig, 'utf8')) as { auths: object }).auths),
      [`${registry.host}/team`],
    );
    assert.equal(await bothGet(`${registry.host}/team/app:1`, env), true);
    assert.equal(await bothGet(name, env), false);
    await airlift(['logout', `${registry.host}/team`], { env });
    assert.equal(await bothGet(`${registry.host}/team/app:1`, env), false);
    const missing = await airlift(['logout', `${registry.host}/team`], { env, codes: [1] });
    assert.match(missing.stderr, /log out of \S+\/team: no login for it in /);
  });

  test('a skopeo login for a namespace works beside another login for the registry', async (t) => {
    const { env, dir } = newHome(t);
    const file = join(dir, 'auth.json');
    writeJson(file, { auths: { [registry.host]: auth('nobody', 'wrong') } });
    await run(
      'skopeo',
      [
        'login',
        `--authfile=${file}`,
        '--tls-verify=false',
        '-u',
        user,
        '--password-stdin',
        `${registry.host}/team`,
      ],
      { env, input: password },
    );
    assert.equal(await bothGet(`${registry.host}/team/app:1`, env, '--authfile', file), true);
    assert.equal(await bothGet(name, env, '--authfile', file), false);
  });

  test('skopeo uses a login of airlift, from a file with mode 0600', async (t) => {
    const { env, dir } = newHome(t);
    const file = join(dir, 'own', 'auth.json');
    await login(env, registry.host, '--authfile', file);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(file)).mode & 0o777, 0o700);
    const copy = [`docker://${name}`, `docker://${registry.host}/acme/copied:1`];
    const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
    await run('skopeo', ['copy', `--authfile=${file}`, ...insecure, ...copy], { env });
    chmodSync(file, 0o644);
    await login(env, registry.host, '--authfile', file);
    assert.equal(statSync(file).mode & 0o777, 0o600, 'a file that others could read is closed');
    await airlift(['logout', registry.host, '--authfile', file], { env });
    assert.equal(readFileSync(file, 'utf8').includes(registry.host), false);
    assert.equal(await bothGet(name, env, '--authfile', file), false);
  });

  /** Writes a credential helper that stores credentials in its own file. */
  function makeHelper(dir: string, helper: string, script: string): string {
    const program = join(dir, `docker-credential-${helper}`);
    writeFileSync(program, `#!/bin/sh\nKEPT='${dir}/kept'\n${script}`);
    chmodSync(program, 0o755);
    return program;
  }
  const keeping = `
case "$1" in
store) cat > "$KEPT" ;;
get) read -r key; if [ -f "$KEPT" ] && grep -qF "\\"$key\\"" "$KEPT"; then cat "$KEPT"; else
  echo 'credentials not found in native keychain'; exit 1; fi ;;
erase) rm -f "$KEPT" ;;
esac
`;
  const withPath = (env: Home['env'], dir: string): Home['env'] => ({
    ...env,
    PATH: `${dir}${delimiter}${process.env['PATH'] ?? ''}`,
  });

  for (const [field, config] of [
    ['credHelpers', (host: string) => ({ credHelpers: { [host]: 'airlift-test' } })],
    // Only docker reads it; skopeo ignores it.
    ['credsStore', () => ({ credsStore: 'airlift-test' })],
  ] as const) {
    const get = field === 'credsStore' ? airliftGets : bothGet;
    test(`a helper named by ${field} stores and returns the login, and logout removes it`, async (t) => {
      const { env: home, dockerConfig } = newHome(t);
      const dir = temp(t);
      const env = withPath(home, dir);
      makeHelper(dir, 'airlift-test', keeping);
      writeJson(dockerConfig, { ...config(registry.host), other: 'kept' });
      await login(env);
      assert.deepEqual(JSON.parse(readFileSync(join(dir, 'kept'), 'utf8')), {
        ServerURL: registry.host,
        Username: user,
        Secret: password,
      });
      const text = readFileSync(dockerConfig, 'utf8');
      assert.equal((JSON.parse(text) as { other: string }).other, 'kept');
      assert.ok(!text.includes(password) && !text.includes(auth(user, password).auth));
      assert.equal(await get(name, env), true);
      await airlift(['logout', registry.host], { env });
      assert.equal(existsSync(join(dir, 'kept')), false);
      assert.equal(await get(name, env), false);
    });
  }

  test('the error of a failing helper is printed once, and other credentials are used', async (t) => {
    const { env: home, dockerConfig } = newHome(t);
    const dir = temp(t);
    const env = withPath(home, dir);
    makeHelper(dir, 'broken', `echo 'the keyring is locked: secret-of-helper' >&2; exit 3\n`);
    writeJson(dockerConfig, {
      credHelpers: { [registry.host]: 'broken', 'gone.test': 'not-there' },
      auths: { [registry.host]: auth(user, password) },
    });
    const output = join(dir, 'a.tar');
    const { stderr } = await airlift(['export', name, '-o', output], { env });
    const warnings = stderr.split('\n').filter((line) => line.startsWith('warning:'));
    assert.equal(warnings.length, 1, stderr);
    assert.match(
      warnings[0] ?? '',
      /^warning: run docker-credential-broken get for 127\.0\.0\.1:\d+: failed \(3\): the keyring is locked/,
    );
    const refused = await airlift(['login', registry.host, '-u', user, '--password-stdin'], {
      env,
      input: password,
      codes: [1],
    });
    assert.match(
      refused.stderr,
      /run docker-credential-broken store for \S+: failed \(3\): the keyring is locked/,
    );
    assert.ok(!refused.stderr.includes(password));
    writeJson(dockerConfig, { credHelpers: { [registry.host]: 'not-there' } });
    const missing = await airlift(['export', name, '-o', `${output}.2`], { env, codes: [1] });
    assert.match(missing.stderr, /^warning: run docker-credential-not-there get for \S+: no such program$/m);
  });
});

describe('identity tokens', { skip: needs('docker-registry', 'openssl', 'skopeo') }, () => {
  test('airlift logs in with an identity token, and both tools exchange it for tokens by POST', async (t) => {
    const registry = await startDockerRegistry({
      token: { users: { [user]: password }, identityTokens: { [identityToken]: user } },
    });
    t.after(() => registry.stop());
    await pushImage(registry.host, 'acme/app', '1', image, { user, password });
    const name = `${registry.host}/acme/app:1`;
    const { env, dir, dockerConfig } = newHome(t);
    const args = ['login', registry.host, '-u', '<token>', '--password-stdin'];
    const wrong = await airlift(args, { env, input: 'wr0ng-identity', codes: [1] });
    assert.match(wrong.stderr, /unauthorized \(401/);
    assert.ok(!wrong.stderr.includes('wr0ng-identity') && !existsSync(dockerConfig));
    await airlift(args, { env, input: `${identityToken}\n` });
    const { auths } = JSON.parse(readFileSync(dockerConfig, 'utf8')) as {
      auths: Record<string, { identitytoken: string }>;
    };
    assert.equal(auths[registry.host]?.identitytoken, identityToken);
    assert.equal(await bothGet(name, env), true);
    copyFileSync(dockerConfig, join(dir, 'copy.json'));
    await airlift(['logout', registry.host], { env });
    assert.equal(await bothGet(name, env), false);
    assert.equal(await bothGet(name, env, '--authfile', join(dir, 'copy.json')), true);
    const proven = registry.tokenRequests.filter((request) => request.user === user);
    assert.ok(proven.some(({ scopes }) => scopes.includes('repository:acme/app:pull')));
  });
});

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { parseLoginName } from '../../src/login.js';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { assortment } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

const user = 'courier';
const password = 'Kaffee & Kuchen: 7 €';

describe(
  'login, compared with skopeo',
  { skip: needs('docker-registry', 'htpasswd', 'openssl', 'skopeo') },
  () => {
    let registry: DockerRegistry;
    let reference: string;
    const certificates = temp({ after });

    before(async () => {
      registry = await startDockerRegistry({ htpasswd: { user, password }, tls: true });
      const { single } = assortment();
      assert.ok(single);
      await pushImage(registry.host, single.repository, single.tag, single.image, {
        user,
        password,
        ca: registry.ca,
      });
      copyFileSync(registry.ca ?? assert.fail(), join(certificates, 'ca.crt'));
      reference = `${registry.host}/${single.repository}:${single.tag}`;
    });
    after(() => registry?.stop());

    const reaching = (): string[] => ['--no-plain-http', '--ca-file', registry.ca ?? ''];
    const exporting = (output: string): string[] => ['export', reference, '-o', output, ...reaching()];
    const inspecting = (...flags: string[]): string[] => [
      ...['inspect', '--raw', `--cert-dir=${certificates}`, ...flags, `docker://${reference}`],
    ];

    test('skopeo uses a login of airlift; after logout neither has it', async (t) => {
      const home = newHome(t);
      const { env } = home;
      const { stdout } = await airlift(
        ['login', registry.host, '-u', user, '--password-stdin', ...reaching()],
        { env, input: `${password}\n` },
      );
      assert.equal(
        stdout,
        `logged in to ${registry.host} as ${user}; credentials stored in ${home.dockerConfig}\n`,
      );
      assert.equal(statSync(home.dockerConfig).mode & 0o777, 0o600);
      await run('skopeo', inspecting(), { env });
      await airlift(exporting(join(temp(t), 'a.tar')), { env });

      await airlift(['logout', registry.host], { env });
      assert.equal(readFileSync(home.dockerConfig, 'utf8').includes(registry.host), false);
      const refused = await airlift(exporting(join(temp(t), 'b.tar')), { env, codes: [1] });
      assert.match(refused.stderr, /unauthorized \(401\)\n {2}hint: airlift login 127\.0\.0\.1:\d+/);
      await run('skopeo', inspecting(), { env, codes: [1] });
      const again = await airlift(['logout', registry.host], { env, codes: [1] });
      assert.match(again.stderr, /no login for it/);
    });

    test('airlift uses a login of skopeo', async (t) => {
      const { env, dir } = newHome(t);
      const authfile = join(dir, 'auth.json');
      await run(
        'skopeo',
        [
          ...['login', `--authfile=${authfile}`, `--cert-dir=${certificates}`],
          ...['-u', user, '--password-stdin', registry.host],
        ],
        { env, input: password },
      );
      await airlift([...exporting(join(dir, 'a.tar')), '--authfile', authfile], { env });
      await airlift(exporting(join(dir, 'b.tar')), { env: { ...env, REGISTRY_AUTH_FILE: authfile } });
      await airlift(['logout', registry.host, '--authfile', authfile], { env });
      await run('skopeo', inspecting(`--authfile=${authfile}`), { env, codes: [1] });
    });

    test('a login goes into the first auth file that exists', async (t) => {
      const { env, dir, dockerConfig } = newHome(t);
      const runtime = join(dir, 'run');
      const own = join(runtime, 'containers', 'auth.json');
      mkdirSync(join(runtime, 'containers'), { recursive: true });
      writeFileSync(own, '{}');
      const keeping = { env: { ...env, XDG_RUNTIME_DIR: runtime }, input: password };
      await airlift(['login', registry.host, '-u', user, '--password-stdin', ...reaching()], keeping);
      assert.ok(readFileSync(own, 'utf8').includes(registry.host));
      assert.equal(existsSync(dockerConfig), false);
    });

    test('a wrong password is rejected and not stored', async (t) => {
      const { env, dockerConfig } = newHome(t);
      const { stderr } = await airlift(
        ['login', registry.host, '-u', user, '--password-stdin', ...reaching()],
        { env, input: 'wrong-password', codes: [1] },
      );
      assert.match(stderr, /log in to .*: unauthorized \(401/);
      assert.equal(stderr.includes('wrong-password'), false);
      // The hint must not name the command that just ran.
      assert.doesNotMatch(stderr, /hint: .*airlift login/);
      assert.equal(existsSync(dockerConfig), false);
    });

    test('an untrusted certificate is reported with a hint', async (t) => {
      const { env } = newHome(t);
      const args = ['login', registry.host, '-u', user, '--password-stdin', '--no-plain-http'];
      const { stderr } = await airlift(args, { env, input: password, codes: [1] });
      assert.match(stderr, /airlift test authority/);
      assert.match(stderr, /--ca-file/);
      await airlift([...args, '--insecure-skip-tls-verify'], { env, input: password });
      await airlift(['login', registry.host, '-u', user, '--password-stdin', '--tls-verify=false'], {
        env,
        input: password,
      });
      const trusting = { ...env, SSL_CERT_FILE: registry.ca };
      await airlift(args, { env: trusting, input: password });
    });
  },
);

describe('login with tokens', { skip: needs('docker-registry', 'openssl') }, () => {
  test('login sends the password to the token service, and commands use it', async (t) => {
    const registry = await startDockerRegistry({ token: { users: { [user]: password } } });
    t.after(() => registry.stop());
    const { single } = assortment();
    assert.ok(single);
    await pushImage(registry.host, single.repository, single.tag, single.image, { user, password });
    const { env, dir } = newHome(t);
    await airlift(['login', registry.host, '-u', user, '--password-stdin'], { env, input: password });
    const reference = `${registry.host}/${single.repository}:${single.tag}`;
    await airlift(['export', reference, '-o', join(dir, 'a.tar')], { env });
    const scopes = registry.tokenRequests.filter((request) => request.user === user).flatMap((r) => r.scopes);
    assert.ok(scopes.includes(`repository:${single.repository}:pull`));
  });
});

test('missing credentials: a usage error without the password', async (t) => {
  const { env } = newHome(t);
  const { stderr } = await airlift(['login', '127.0.0.1:1', '--password-stdin'], {
    env,
    input: 'hunter2',
    codes: [2],
  });
  assert.match(stderr, /--password-stdin: also needs --username/);
  assert.equal(stderr.includes('hunter2'), false);
});

test('registry names that login accepts', () => {
  for (const name of ['ghcr.io', '192.168.2.23:5000', 'registry.corp/team', '[::1]:5000', 'docker.io/'])
    assert.equal(parseLoginName(name), name.replace(/\/$/, ''));
  for (const name of ['', 'https://ghcr.io', 'ghcr.io/Team', 'a b', '-x'])
    assert.throws(
      () => parseLoginName(name),
      (error) => isAirliftError(error, 'usage'),
      name,
    );
});

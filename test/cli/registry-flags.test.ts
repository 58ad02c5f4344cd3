import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RegistryArguments } from '../../src/cli/access-flags.js';
import { registryOptionsOf } from '../../src/cli/registry-flags.js';
import { isAirliftError } from '../../src/errors.js';
import { newHome } from '../support/home.js';
import { temp } from '../support/temp.js';

const plain = { _: [], $0: 'airlift', retries: 5, traceRequests: false } as unknown as RegistryArguments;
const args = (more: Partial<RegistryArguments>): RegistryArguments => ({ ...plain, ...more });

test('--creds applies to the named registry, or to the only one', async (t) => {
  const env = { ...newHome(t).env };
  const hostsOf = async (creds: string[], registries: string[]): Promise<unknown> =>
    (await registryOptionsOf(args({ creds }), env, registries)).hosts;
  const entry = (registry: string, username: string, password: string): unknown => ({
    [registry]: { credentials: { registry, username, password } },
  });
  assert.deepEqual(await hostsOf(['me:a:b=c'], ['ghcr.io', 'ghcr.io']), entry('ghcr.io', 'me', 'a:b=c'));
  assert.deepEqual(
    await hostsOf(['ghcr.io=me:pw', '127.0.0.1:5000=you:', 'localhost=x:y'], ['docker.io', 'quay.io']),
    {
      ...(entry('ghcr.io', 'me', 'pw') as object),
      ...(entry('127.0.0.1:5000', 'you', '') as object),
      ...(entry('localhost', 'x', 'y') as object),
    },
  );
  for (const [creds, registries] of [
    ['u:hunter2', ['a.io', 'b.io']],
    ['hunter2', ['a.io']],
    [':hunter2', ['a.io']],
    ['u:hunter2', []],
  ] as const) {
    await assert.rejects(
      hostsOf([creds], [...registries]),
      (error) =>
        isAirliftError(error, 'usage') && !`${error.message} ${error.hint ?? ''}`.includes('hunter2'),
    );
  }
});

test('a malformed value is a usage error that names the flag', async (t) => {
  const { env } = newHome(t);
  const cases: [Partial<RegistryArguments>, RegExp][] = [
    [{ rateBudget: 'soon' }, /--rate-budget: got "soon", want wait\[:N\] or stop\[:N\]/],
    [{ retryDelay: 'soon' }, /--retry-delay: not a duration/],
    [{ idleTimeout: 'x' }, /--idle-timeout: not a duration/],
    [{ maxRetryAfter: 'x' }, /--max-retry-after: not a duration/],
    [{ chunkSize: 'many' }, /--chunk-size: not a size/],
    [{ retries: -1 }, /--retries: got -1, want a whole number from 0 to 10000/],
    [{ requestsPerHost: 0 }, /--requests-per-host: got 0, want a whole number from 1 to 10000/],
    [{ registriesConf: '/nowhere' }, /--registries-conf \/nowhere: no such file/],
    [{ mirror: ['docker.io'] }, /not registry=mirror/],
  ];
  for (const [flags, message] of cases)
    await assert.rejects(
      registryOptionsOf(args(flags), { ...env }, []),
      (error) => isAirliftError(error, 'usage') && message.test(error.message),
      String(message),
    );
});

test('sizes and durations reach the registry client as bytes and milliseconds', async (t) => {
  const flags = {
    retries: 0,
    retryDelay: '10ms',
    maxRetryAfter: '1m',
    idleTimeout: '2s',
    requestsPerHost: 4,
    rateBudget: 'stop:20',
    chunkSize: '5M',
  };
  const options = await registryOptionsOf(args(flags), { ...newHome(t).env }, []);
  const { retries, retryDelay, maxRetryAfter, idleTimeout, requestsPerHost, rateBudget, chunkSize } = options;
  assert.deepEqual(
    [retries, retryDelay, maxRetryAfter, idleTimeout, requestsPerHost, rateBudget, chunkSize],
    [0, 10, 60_000, 2000, 4, { whenSpent: 'stop', keep: 20 }, 5_000_000],
  );
});

test('the environment: auth files, proxies, roots, certificates', async (t) => {
  const { dir, env } = newHome(t);
  const variables = {
    XDG_RUNTIME_DIR: '/run/me',
    HTTPS_PROXY: 'http://p:1',
    https_proxy: 'http://q:1',
    http_proxy: 'http://q:2',
    NO_PROXY: '.corp',
    SSL_CERT_FILE: '/ca.pem',
  };
  const options = await registryOptionsOf(args({}), { ...env, ...variables }, []);
  assert.deepEqual(options.authFiles, [
    '/run/me/containers/auth.json',
    join(dir, '.config/containers/auth.json'),
    join(dir, '.docker/config.json'),
  ]);
  assert.deepEqual(options.proxy, { http: 'http://q:2', https: 'http://p:1', no: '.corp' });
  assert.equal(options.rootsFile, '/ca.pem');
  assert.ok(options.certsDirs?.includes('/etc/docker/certs.d'));
  const bare = await registryOptionsOf(args({}), { ...env, XDG_RUNTIME_DIR: '' }, []);
  const unset = await registryOptionsOf(args({}), { ...env, XDG_CONFIG_HOME: '' }, []);
  assert.equal(unset.authFiles?.[1], join(dir, '.config/containers/auth.json'));
  const user = process.getuid?.();
  if (process.platform === 'linux') assert.equal(bare.authFiles?.[0], `/run/containers/${user}/auth.json`);
  const own = await registryOptionsOf(args({ authfile: '/a.json' }), { ...env, ...variables }, []);
  assert.deepEqual(own.authFiles, ['/a.json']);
});

test('mirrors of flags come before those of files, and other settings are merged', async (t) => {
  const { dir, env } = newHome(t);
  const folder = join(dir, '.config', 'containers');
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'registries.conf'),
    '[[registry]]\nprefix = "docker.io"\nlocation = "hub.corp"\n[[registry.mirror]]\nlocation = "one.corp"\n',
  );
  const yaml = join(temp(t), 'registries.yaml');
  writeFileSync(
    yaml,
    `mirrors:
  docker.io:
    endpoint: [ "http://two.corp:5000" ]
  "*":
configs:
  two.corp:5000:
    auth: { username: 1234, password: true }
    tls: { insecure_skip_verify: true }
`,
  );
  const { mirrors = [], hosts } = await registryOptionsOf(
    args({ mirror: ['docker.io=three.corp', 'docker.io=http://four.corp'], registriesYaml: yaml }),
    { ...env },
    [],
  );
  const hub = mirrors.find(({ prefix }) => prefix === 'docker.io');
  assert.equal(hub?.location, 'hub.corp');
  assert.deepEqual(
    hub?.mirrors.map(({ location }) => location),
    ['three.corp', 'four.corp', 'two.corp:5000', 'one.corp'],
  );
  assert.deepEqual(hosts?.['two.corp:5000']?.credentials, {
    username: '1234',
    password: 'true',
    registry: 'two.corp:5000',
  });
  assert.equal(hosts?.['two.corp:5000']?.insecureSkipTlsVerify, true);

  const other = join(dir, 'other.conf');
  writeFileSync(other, '[[registry]]\nlocation = "quay.io"\nblocked = true\n');
  const instead = await registryOptionsOf(args({ registriesConf: other }), { ...env }, []);
  assert.deepEqual(
    instead.mirrors?.map(({ prefix, blocked }) => [prefix, blocked]),
    [['quay.io', true]],
  );
});

test('--tls-verify=false applies to every registry', async (t) => {
  const flags = args({ tlsVerify: false, mirror: ['docker.io=m.corp'] });
  const { mirrors = [], insecureSkipTlsVerify } = await registryOptionsOf(flags, { ...newHome(t).env }, []);
  assert.equal(insecureSkipTlsVerify, true);
  assert.ok(mirrors.some(({ prefix, insecure }) => prefix === '*' && insecure === true));
  assert.ok(mirrors.some(({ prefix, insecure }) => prefix === 'docker.io' && insecure === true));
});

test('a malformed registries.yaml is rejected without printing its content', async (t) => {
  const yaml = join(temp(t), 'registries.yaml');
  writeFileSync(yaml, 'configs:\n  a.corp:\n    auth: { password: "hunter2\n');
  await assert.rejects(
    registryOptionsOf(args({ registriesYaml: yaml }), { ...newHome(t).env }, []),
    (error) =>
      isAirliftError(error, 'input') &&
      /registries\.yaml: invalid YAML in line/.test(error.message) &&
      !error.message.includes('hunter2'),
  );
});

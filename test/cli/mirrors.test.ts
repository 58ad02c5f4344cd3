import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { needs, type RunResult } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const mirrored = multiPlatform({ name: 'mirrored' });
const own = singlePlatform('linux/amd64', { name: 'own' });
const reader = { user: 'reader', password: 'only-read-1ng' };

describe('mirrors', { skip: needs('docker-registry', 'htpasswd') }, () => {
  /** The registry itself. It holds `acme/own:1`, and what others think is `acme/mirrored:1`. */
  let upstream: DockerRegistry;
  /** Holds `hub/acme/mirrored:1` for readers with a password. */
  let mirror: DockerRegistry;
  let site: DockerRegistry;
  const { env } = newHome({ after });

  before(async () => {
    upstream = await startDockerRegistry();
    mirror = await startDockerRegistry({ htpasswd: reader });
    site = await startDockerRegistry();
    await pushImage(upstream.host, 'acme/own', '1', own);
    await pushImage(upstream.host, 'acme/mirrored', '1', own);
    await pushImage(mirror.host, 'hub/acme/mirrored', '1', mirrored, reader);
  });
  after(() => Promise.all([upstream?.stop(), mirror?.stop(), site?.stop()]));

  /** Exports with `flags`, imports, and checks that both images arrived. */
  async function carry(t: Cleanup, names: [string, string], flags: string[], more = {}): Promise<RunResult> {
    const bundle = join(temp(t), 'site.tar');
    const runOptions = { env: { ...env, ...more } };
    const ran = await airlift(['export', ...names, '-o', bundle, ...flags], runOptions);
    const prefix = `team${++carried}`;
    await airlift(['import', bundle, '--to', `${site.host}/${prefix}`], { env });
    for (const [repository, image] of [
      ['acme/mirrored', mirrored],
      ['acme/own', own],
    ] as const) {
      const { content } = await walkRegistry(site.host, `${prefix}/${repository}`, '1');
      sameContent(content, await walkImage(image));
    }
    return ran;
  }
  let carried = 0;

  /** Returns the log lines that name the mirror of an image. */
  const served = ({ stderr }: RunResult): string[] =>
    stderr
      .split('\n')
      .filter((line) => line.includes(': served by '))
      .sort();
  const creds = (): string[] => ['--creds', `${mirror.host}=${reader.user}:${reader.password}`];

  test('--mirror is read first, then the registry, and the log names the one that served', async (t) => {
    const names: [string, string] = [`${upstream.host}/acme/mirrored:1`, `${upstream.host}/acme/own:1`];
    const flags = ['--mirror', `${upstream.host}=${mirror.host}/hub`, ...creds()];
    const ran = await carry(t, names, flags);
    assert.deepEqual(served(ran), [
      `${upstream.host}/acme/mirrored: served by mirror http://${mirror.host}`,
      `${upstream.host}/acme/own: served by the registry itself, http://${upstream.host}`,
    ]);
    const quiet = await carry(t, names, [...flags, '--quiet']);
    assert.deepEqual(served(quiet), []);
  });

  test('a dry run also names the mirror that served', async () => {
    const names = [`${upstream.host}/acme/mirrored:1`, `${upstream.host}/acme/own:1`];
    const flags = ['--mirror', `${upstream.host}=${mirror.host}/hub`, ...creds()];
    const ran = await airlift(['export', ...names, '--dry-run', ...flags], { env });
    assert.deepEqual(served(ran), [
      `${upstream.host}/acme/mirrored: served by mirror http://${mirror.host}`,
      `${upstream.host}/acme/own: served by the registry itself, http://${upstream.host}`,
    ]);
  });

  test('registries.conf: prefix, location, mirror, insecure and blocked', async (t) => {
    const { dir, env: home } = newHome(t);
    mkdirSync(join(dir, '.config', 'containers'));
    const conf = `
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "registry.test/team"
location = "${upstream.host}/acme"
insecure = true
[[registry.mirror]]
location = "${mirror.host}/hub/acme"
insecure = true
[[registry]]
prefix = "registry.test/secret"
location = "${upstream.host}"
blocked = true
`;
    const rules = ['--rename', 'registry.test/team/*=acme/*'];
    for (const place of ['the usual place', 'the flag']) {
      const path =
        place === 'the flag'
          ? join(dir, 'other.conf')
          : join(dir, '.config', 'containers', 'registries.conf');
      writeFileSync(path, conf);
      const flags = [...creds(), ...(place === 'the flag' ? ['--registries-conf', path] : [])];
      const bundle = join(temp(t), 'site.tar');
      const names = ['registry.test/team/mirrored:1', 'registry.test/team/own:1'];
      const ran = await airlift(['export', ...names, '-o', bundle, ...flags], { env: { ...env, ...home } });
      assert.deepEqual(served(ran), [
        `registry.test/team/mirrored: served by mirror http://${mirror.host}`,
        `registry.test/team/own: served by the registry itself, http://${upstream.host}`,
      ]);
      await airlift(['import', bundle, '--to', `${site.host}/conf`, ...rules], { env });
      const { content } = await walkRegistry(site.host, 'conf/acme/mirrored', '1');
      sameContent(content, await walkImage(mirrored));

      const blocked = await airlift(['export', 'registry.test/secret/own:1', '-o', `${bundle}.2`, ...flags], {
        env: { ...env, ...home },
        codes: [1],
      });
      assert.match(blocked.stderr, /registry\.test\/secret is blocked by \S+\.conf\n/);
    }
  });

  test('k3s registries.yaml: order of endpoints, rewrites and passwords', async (t) => {
    const yaml = join(temp(t), 'registries.yaml');
    writeFileSync(
      yaml,
      `mirrors:
  "${upstream.host}":
    endpoint: [ "http://127.0.0.1:1", "http://${mirror.host}" ]
    rewrite: { "^acme/(.*)": "hub/acme/$1" }
configs:
  "${mirror.host}":
    auth: { username: ${reader.user}, password: ${reader.password} }
`,
    );
    const names: [string, string] = [`${upstream.host}/acme/mirrored:1`, `${upstream.host}/acme/own:1`];
    const ran = await carry(t, names, ['--registries-yaml', yaml, '--retry-delay', '10ms']);
    assert.deepEqual(served(ran), [
      `${upstream.host}/acme/mirrored: served by mirror http://${mirror.host}`,
      `${upstream.host}/acme/own: served by the registry itself, http://${upstream.host}`,
    ]);
    const warnings = ran.stderr.split('\n').filter((line) => line.startsWith('warning:'));
    assert.ok(warnings.length > 0);
    for (const line of warnings)
      assert.match(
        line,
        /^warning: mirror http:\/\/127\.0\.0\.1:1 did not serve .*: connection refused by 127\.0\.0\.1:1$/,
      );
  });

  test('a failing mirror causes a warning; if no mirror has the image, the error is the registry’s', async (t) => {
    const flags = ['--mirror', `${upstream.host}=${mirror.host}/hub`];
    const output = join(temp(t), 'site.tar');
    const warned = await airlift(['export', `${upstream.host}/acme/own:1`, '-o', output, ...flags], { env });
    assert.match(warned.stderr, /warning: mirror http:\S+ did not serve .*: unauthorized \(401\b/);
    const missing = await airlift(
      ['export', `${upstream.host}/acme/none:1`, '-o', `${output}.2`, ...flags, ...creds()],
      { env, codes: [1] },
    );
    assert.match(
      missing.stderr,
      new RegExp(`resolve ${upstream.host}/acme/none:1: (?:manifest|repository) not found`),
    );
  });
});

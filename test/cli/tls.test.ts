import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const image = singlePlatform('linux/amd64', { name: 'tls' });

/** Writes a directory like docker's `certs.d/HOST` with the given files. */
function certificates(dir: string, registry: DockerRegistry, ...parts: ('ca' | 'client')[]): string {
  mkdirSync(dir, { recursive: true });
  if (parts.includes('ca')) copyFileSync(registry.ca ?? '', join(dir, 'ca.crt'));
  if (parts.includes('client')) {
    copyFileSync(registry.client?.cert ?? '', join(dir, 'client.cert'));
    copyFileSync(registry.client?.key ?? '', join(dir, 'client.key'));
  }
  return dir;
}

describe('TLS', { skip: needs('docker-registry', 'openssl') }, () => {
  /** Has a certificate of a private authority. */
  let plain: DockerRegistry;
  /** Also requires a client certificate. */
  let strict: DockerRegistry;
  let name: string;
  const noCertificatesEnv = { ...newHome({ after }).env, SSL_CERT_FILE: undefined, SSL_CERT_DIR: undefined };

  before(async () => {
    plain = await startDockerRegistry({ tls: true });
    strict = await startDockerRegistry({ tls: true, clientCa: true });
    await pushImage(plain.host, 'acme/app', '1', image, { ca: plain.ca });
    name = `${plain.host}/acme/app:1`;
  });
  after(() => Promise.all([plain?.stop(), strict?.stop()]));

  async function carry(
    t: Cleanup,
    from: string[],
    to: string[],
    env: Record<string, string | undefined>,
  ): Promise<void> {
    const bundle = join(temp(t), 'site.tar');
    const prefix = `team${++carried}`;
    await airlift(['export', name, '-o', bundle, ...from], { env });
    await airlift(['import', bundle, '--to', `${strict.host}/${prefix}`, ...to], { env });
    const access = { ca: strict.ca, client: strict.client };
    const { content } = await walkRegistry(strict.host, `${prefix}/acme/app`, '1', access);
    sameContent(content, await walkImage(image));
  }
  let carried = 0;

  test('--ca-file for authorities, --cert-dir for client certificates', async (t) => {
    const shown = certificates(join(temp(t), 'certificates'), strict, 'ca', 'client');
    await carry(
      t,
      ['--no-plain-http', '--ca-file', plain.ca ?? ''],
      ['--no-plain-http', '--cert-dir', shown],
      noCertificatesEnv,
    );
  });

  test('both from certs.d, without flags', async (t) => {
    const { dir, env } = newHome(t);
    const own = join(dir, '.config', 'containers', 'certs.d');
    certificates(join(own, plain.host), plain, 'ca');
    certificates(join(own, strict.host), strict, 'ca', 'client');
    await carry(t, [], [], { ...noCertificatesEnv, ...env });
  });

  test('both from k3s’s registries.yaml', async (t) => {
    const yaml = join(temp(t), 'registries.yaml');
    const { cert, key } = strict.client ?? assert.fail();
    writeFileSync(
      yaml,
      `configs:
  "${plain.host}":
    tls: { ca_file: "${plain.ca}" }
  "${strict.host}":
    tls: { ca_file: "${strict.ca}", cert_file: "${cert}", key_file: "${key}" }
`,
    );
    await carry(t, ['--registries-yaml', yaml], ['--registries-yaml', yaml], noCertificatesEnv);
  });

  test('--insecure-skip-tls-verify and --tls-verify=false accept any certificate', async (t) => {
    const shown = certificates(join(temp(t), 'certificates'), strict, 'client');
    await carry(
      t,
      ['--tls-verify=false'],
      ['--no-plain-http', '--insecure-skip-tls-verify', '--cert-dir', shown],
      noCertificatesEnv,
    );
  });

  test('--emit also writes the certificate authority for nodes', async (t) => {
    const dir = temp(t);
    const [bundle, nodes] = [join(dir, 'site.tar'), join(dir, 'nodes')];
    const trusting = ['--no-plain-http', '--ca-file', plain.ca ?? ''];
    await airlift(['export', name, '-o', bundle, ...trusting], { env: noCertificatesEnv });
    const importing = ['import', bundle, '--to', `${plain.host}/emitted`, '--emit', nodes];
    const { stderr } = await airlift([...importing, ...trusting], { env: noCertificatesEnv });
    const caPath = `/etc/containers/certs.d/${plain.host}/ca.crt`;
    assert.ok(stderr.includes(`copy ${join(nodes, 'ca.crt')} to every node as ${caPath}\n`), stderr);
    const authority = join(nodes, 'ca.crt');
    assert.equal(readFileSync(authority, 'utf8'), readFileSync(plain.ca ?? '', 'utf8'));
    // Read it as k3s would, with the certificate at the named path.
    const yaml = join(dir, 'registries.yaml');
    const text = readFileSync(join(nodes, 'registries.yaml'), 'utf8');
    assert.ok(text.includes(`ca_file: "${caPath}"`), text);
    writeFileSync(yaml, text.replace(caPath, authority));
    const again = ['export', name, '-o', join(dir, 'again.tar'), '--registries-yaml', yaml];
    assert.match(
      (await airlift(again, { env: noCertificatesEnv })).stderr,
      /acme\/app: served by mirror https:/,
    );
    await airlift([...importing, '--no-plain-http', '--insecure-skip-tls-verify'], {
      env: noCertificatesEnv,
    });
    assert.match(readFileSync(join(nodes, 'registries.yaml'), 'utf8'), /insecure_skip_verify: true/);
  });

  test('--tls-verify=false --emit configures nodes for https without verification', async (t) => {
    const dir = temp(t);
    const [bundle, nodes] = [join(dir, 'site.tar'), join(dir, 'nodes')];
    const lax = '--tls-verify=false';
    await airlift(['export', name, '-o', bundle, lax], { env: noCertificatesEnv });
    await airlift(['import', bundle, '--to', `${plain.host}/lax`, lax, '--emit', nodes], {
      env: noCertificatesEnv,
    });
    const read = (path: string): string => readFileSync(join(nodes, path), 'utf8');
    assert.match(read('registries.yaml'), new RegExp(`https://${plain.host}`));
    assert.match(read('registries.yaml'), /insecure_skip_verify: true/);
    const every = readdirSync(nodes, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
      .join('\n');
    assert.ok(!every.includes(`http://${plain.host}`), every);
    // Read it as k3s would.
    const again = ['export', name, '-o', join(dir, 'again.tar'), '--registries-yaml'];
    const { stderr } = await airlift([...again, join(nodes, 'registries.yaml')], { env: noCertificatesEnv });
    assert.match(stderr, /acme\/app: served by mirror https:/);
  });

  /** Returns the errors of export and import for an unreachable registry. */
  async function refusals(t: Cleanup, host: string, flags: string[]): Promise<string[]> {
    const bundle = join(temp(t), 'site.tar');
    await airlift(['export', name, '-o', bundle, '--no-plain-http', '--ca-file', plain.ca ?? ''], {
      env: noCertificatesEnv,
    });
    const errors = [];
    for (const args of [
      ['export', `${host}/acme/app:1`, '-o', `${bundle}.2`],
      ['import', bundle, '--to', host],
    ])
      errors.push((await airlift([...args, ...flags], { env: noCertificatesEnv, codes: [1] })).stderr);
    return errors;
  }

  test('an untrusted certificate is reported with issuer, names and a hint', async (t) => {
    for (const stderr of await refusals(t, plain.host, ['--no-plain-http'])) {
      assert.match(
        stderr,
        /: certificate "server" of 127\.0\.0\.1:\d+, issued by "airlift test authority" for 127\.0\.0\.1, localhost, is signed by the untrusted authority "airlift test authority"; sha256 fingerprint [0-9A-F:]{95}\n/,
      );
      assert.ok(
        stderr.includes(
          `  hint: pass the certificate of "airlift test authority" as a PEM file with --ca-file, or put it at /etc/docker/certs.d/${plain.host}/ca.crt\n`,
        ),
        stderr,
      );
    }
  });

  test('a certificate for other names is reported with these names', async (t) => {
    const elsewhere = await startDockerRegistry({ tls: true, tlsNames: ['registry.corp', 'IP:10.1.2.3'] });
    t.after(() => elsewhere.stop());
    for (const stderr of await refusals(t, elsewhere.host, [
      '--no-plain-http',
      '--ca-file',
      elsewhere.ca ?? '',
    ]))
      assert.match(
        stderr,
        /issued by "airlift test authority", is for other names; got registry\.corp, 10\.1\.2\.3, want 127\.0\.0\.1\n/,
      );
  });

  test('a registry that requires a client certificate: the hint says where to put it', async (t) => {
    for (const stderr of await refusals(t, strict.host, ['--no-plain-http', '--ca-file', strict.ca ?? '']))
      assert.match(
        stderr,
        /requires a client certificate or rejects the given one\n {2}hint: put client\.cert and client\.key into \/etc\/docker\/certs\.d\/127\.0\.0\.1:\d+, or pass --cert-dir\n/,
      );
  });

  test('TLS to a plain HTTP registry, and plain HTTP to a TLS registry: the hint names the flag', async (t) => {
    const open = await startDockerRegistry();
    t.after(() => open.stop());
    for (const stderr of await refusals(t, open.host, ['--no-plain-http']))
      assert.match(stderr, /does not use TLS\n {2}hint: for a registry without TLS pass --plain-http\n/);
    for (const stderr of await refusals(t, plain.host, ['--plain-http']))
      assert.match(stderr, /\n {2}hint: the registry requires TLS: pass --no-plain-http\n/);
  });
});

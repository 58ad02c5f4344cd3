import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { failing, startFaultProxy, type FaultProxy, type Rule } from '../support/faults.js';
import { startForwardProxy } from '../support/forward-proxy.js';
import { newHome } from '../support/home.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { authorizationFor } from '../support/registry-http.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';

const image = multiPlatform({ name: 'secrets', bigBytes: 600_000 });
const reader = { user: 'reader', password: 'rea+der/s3cr3t & ü' };
const writer = { user: 'writer', password: 'wri%ter=s3cr3t' };
const proxyUser = { user: 'pr', password: 'pro:xy@s3cr3t' };
const identityToken = 'iden-tity.s3cr3t/+=';
const signature = 'sig/na+ture-s3cr3t';
const wrong = 'wro&ng-s3cr3t';
const typed = 'ty-ped-s3cr3t';

/** Returns the forms in which a secret may appear: plain, in a URL, in JSON, and in base64 at any offset. */
function formsOf(secret: string): string[] {
  const inBase64 = [0, 1, 2].map((skipped) => {
    const encoded = Buffer.concat([Buffer.alloc(skipped), Buffer.from(secret)]).toString('base64');
    // Drop the characters that depend on neighbouring bytes.
    return encoded.slice(Math.ceil((skipped * 4) / 3), -4);
  });
  const forms = [secret, encodeURIComponent(secret), encodeURI(secret), JSON.stringify(secret).slice(1, -1)];
  forms.push(new URLSearchParams({ s: secret }).toString().slice(2), ...inBase64);
  forms.push(...inBase64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')));
  return [...new Set(forms)];
}

/** Reads every file below a directory, by path. */
function filesIn(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** A registry whose responses repeat the request. */
async function startEcho(t: Cleanup): Promise<string> {
  const server = createServer((request, response) => {
    const sent = request.headers.authorization;
    if (sent === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="echo"' }).end();
      return;
    }
    const decoded = Buffer.from(sent.replace('Basic ', ''), 'base64').toString('utf8');
    const message = `${sent} is ${decoded}, or ${encodeURIComponent(decoded)}`;
    response.writeHead(403, {
      'content-type': 'application/json',
      warning: `299 - "${message.slice(0, 60)}"`,
    });
    response.end(JSON.stringify({ errors: [{ code: 'DENIED', message }] }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => new Promise<void>((done) => void server.close(() => done()).closeAllConnections()));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('secrets', { skip: needs('docker-registry', 'htpasswd', 'openssl') }, () => {
  let source: DockerRegistry;
  let site: DockerRegistry;
  let front: FaultProxy;
  let back: FaultProxy;

  before(async () => {
    const users = { [reader.user]: reader.password };
    source = await startDockerRegistry({
      token: { users, identityTokens: { [identityToken]: reader.user } },
    });
    site = await startDockerRegistry({ htpasswd: writer });
    await pushImage(source.host, 'acme/app', '1', image, reader);
    const authorization = await authorizationFor(source.host, '/v2/acme/app/tags/list', reader);
    front = await startFaultProxy({
      upstream: `http://${source.host}`,
      secondHeaders: { authorization },
      signature: `X-Amz-Signature=${encodeURIComponent(signature)}`,
    });
    back = await startFaultProxy({ upstream: `http://${site.host}` });
  });
  after(async () => {
    await front?.stop();
    await back?.stop();
    await source?.stop();
    await site?.stop();
  });

  test('no output, trace, journal, bundle, lock or cache contains a secret, however a run ends', async (t) => {
    const work = temp(t);
    const { dir: home, env: homeEnv } = newHome(t);
    for (const folder of ['tmp', 'cache', 'out']) mkdirSync(join(work, folder));
    const proxy = await startForwardProxy(t, {
      targetOf: (host) => ({ 'source.test': front.host })[host],
      credentials: proxyUser,
    });
    const { user, password } = proxyUser;
    const helpers = join(home, 'bin');
    mkdirSync(helpers);
    const env = {
      ...homeEnv,
      HTTP_PROXY: `http://${user}:${encodeURIComponent(password)}@${proxy.host}`,
      TMPDIR: join(work, 'tmp'),
      XDG_CACHE_HOME: join(work, 'cache'),
      PATH: `${helpers}${delimiter}${process.env['PATH'] ?? ''}`,
    };
    const authFile = (name: string, content: unknown): string => {
      const path = join(home, name);
      writeFileSync(path, JSON.stringify(content));
      return path;
    };
    const auth = (name: string, secret: string): unknown => ({
      auth: Buffer.from(`${name}:${secret}`).toString('base64'),
    });

    const outputs: string[] = [];
    /** Runs one command with all traces enabled. */
    const run = async (args: readonly string[], codes: number[], input?: string): Promise<string> => {
      const traced = ['export', 'import', 'copy', 'save', 'login'].includes(args[0] ?? '')
        ? [...args, '--trace-requests']
        : args;
      const { stdout, stderr } = await airlift(traced, { env, codes, input: input ?? '' });
      outputs.push(stdout, stderr);
      return `${stdout}${stderr}`;
    };
    /** Runs one command and stops it when `isTime` returns true. */
    const stopped = async (
      args: readonly string[],
      signal: NodeJS.Signals,
      isTime: () => boolean,
    ): Promise<void> => {
      const plain = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
      const running = startAirlift([...args, '--trace-requests'], { env: plain as Record<string, string> });
      let isOver = false;
      void running.ended.then(() => (isOver = true));
      await until('it is time to stop', () => isTime() || isOver);
      running.send(signal);
      const { stdout, stderr } = await running.ended;
      outputs.push(stdout, stderr);
    };

    // Logins: accepted, rejected, with an identity token, and with a helper.
    const login = ['login', 'source.test', '--plain-http', '--password-stdin', '--retries', '0', '-u'];
    await run([...login, reader.user, '--authfile', join(home, 'a.json')], [0], reader.password);
    await run([...login, reader.user, '--authfile', join(home, 'a.json')], [1], wrong);
    await run([...login, '<token>', '--authfile', join(home, 'b.json')], [0], identityToken);
    await run([...login, '<token>', '--authfile', join(home, 'b.json')], [1], wrong);
    const helper = join(helpers, 'docker-credential-held');
    writeFileSync(
      helper,
      `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify({ Username: writer.user, Secret: writer.password })}'\n`,
    );
    const torn = join(helpers, 'docker-credential-torn');
    writeFileSync(torn, `#!/bin/sh\ncat >/dev/null\necho '{"Username":"u","Secret":"${wrong}'\n`);
    for (const program of [helper, torn]) chmodSync(program, 0o755);
    const byHelper = authFile('held.json', { credHelpers: { [back.host]: 'held' } });
    const byTorn = authFile('torn.json', { credsStore: 'torn' });

    // Successful exports, with redirects to storage by signed URLs.
    const redirect: Rule = { fault: { do: 'redirect' }, method: 'GET', path: /\/blobs\// };
    front.use(redirect);
    const out = (name: string): string => join(work, 'out', name);
    const exporting = (name: string, ...more: string[]): string[] => [
      ...['export', 'source.test/acme/app:1', '-o', out(name), '--plain-http', '--retries', '1'],
      ...['--idle-timeout', '2s', ...more],
    ];
    const traced = await run(exporting('a.tar', '--authfile', join(home, 'a.json')), [0]);
    assert.match(traced, /authorization: Bearer \*\*\*/);
    assert.match(traced, /authorization: Basic \*\*\*/);
    assert.match(traced, /X-Amz-Signature=\*\*\*/);
    await run(exporting('b.tar', '--authfile', join(home, 'b.json'), '--json', '--lock', out('b.lock')), [0]);
    const creds = ['--creds', `source.test=${reader.user}:${reader.password}`];
    await run(exporting('c.tar', ...creds, '--dry-run'), [0]);

    // Failed exports: rejected, by a registry that repeats requests, and without storage or proxy.
    const echo = await startEcho(t);
    for (const json of [[], ['--json']]) {
      await run(exporting('d.tar', '--creds', `${reader.user}:${wrong}`, ...json), [1]);
      const shown = [['--creds', `${writer.user}:${writer.password}`]];
      shown.push([
        '--authfile',
        authFile('echo.json', { auths: { [echo]: auth(reader.user, reader.password) } }),
      ]);
      for (const flags of shown)
        await run(['export', `${echo}/a:1`, '-o', out('e.tar'), ...flags, ...json], [1]);
      await run(['export', `${echo}/a:1`, '-o', out('e.tar'), '--authfile', byTorn, ...json], [1]);
    }
    front.use({ fault: { do: 'reset' }, host: 'second' });
    const broken = await run(exporting('f.tar', ...creds), [1]);
    assert.match(broken, /X-Amz-Signature=\*\*\*/);
    front.heal();

    // Interrupted exports; the files that they leave are searched too.
    const stall: Rule = { fault: { do: 'stall', after: 100_000 }, method: 'GET', path: /\/blobs\// };
    front.use(redirect, stall, { ...stall, host: 'second' });
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      front.log.clear();
      const isUnderWay = (): boolean => front.log.requests.some(({ sent }) => sent >= 100_000);
      const lasting = ['--idle-timeout', '60s', ...creds];
      await stopped(exporting(`${signal}.tar`, ...lasting), signal, isUnderWay);
    }
    front.heal();

    // Imports: successful, rejected, failed during uploads, interrupted.
    const importing = (...more: string[]): string[] => [
      ...['import', out('a.tar'), '--to', `${back.host}/s${imports++}`, '--retries', '1', ...more],
    ];
    let imports = 0;
    await run(importing('--authfile', byHelper), [0]);
    await run(importing('--creds', `${writer.user}:${wrong}`), [1]);
    await run(importing('--creds', `${writer.user}:${wrong}`, '--json'), [1]);
    back.use({ fault: failing(500), method: 'PUT', path: /uploads/ });
    await run(importing('--authfile', byHelper), [1]);
    back.heal();
    back.use({ fault: { do: 'stall', in: 'request' }, method: 'PUT', path: /uploads/ });
    back.log.clear();
    await stopped(importing('--authfile', byHelper), 'SIGINT', () => back.log.find('PUT').length > 0);
    back.heal();

    // Copies.
    const ends = ['--src-creds', `${reader.user}:${reader.password}`, '--dest-authfile', byHelper];
    await run(['copy', `${front.host}/acme/app:1`, '--to', `${back.host}/copied`, ...ends], [0]);
    const missing = ['copy', `${front.host}/acme/none:1`, '--to', `${back.host}/copied`, ...ends];
    await run([...missing, '--failed', out('failed.txt'), '--keep-going'], [1, 3]);
    const saving = ['save', `${front.host}/acme/app:1`, '--format', 'oci-archive', '-o', out('saved.tar')];
    await run([...saving, '--creds', `${reader.user}:${reader.password}`], [0]);

    // URLs with passwords and signatures in place of names.
    const address = `https://me:${typed}@source.test/acme/app`;
    const list = join(home, 'list.txt');
    writeFileSync(
      list,
      `${address}:1\nme:${typed}@source.test/acme/app:1\nsource.test/app:1?token=${typed}\n`,
    );
    const conf = join(home, 'mirror.conf');
    writeFileSync(conf, `[[registry]]\nprefix = "a.test"\nlocation = "me:${typed}@b.test"\n`);
    const yaml = join(home, 'registries.yaml');
    writeFileSync(yaml, `mirrors:\n  a.test: { endpoint: [ "https://me:${typed}@127.0.0.1:1" ] }\n`);
    const plain = ['export', 'source.test/acme/app:1', '-o', out('g.tar')];
    for (const args of [
      ['export', address, '-o', out('g.tar')],
      ['export', '--images', list, '-o', out('g.tar'), '--json'],
      ['list-images', list],
      [...plain, '--mirror', `source.test=${address}`],
      [...plain, '--registries-conf', conf],
      [...plain, '--creds', typed],
      ['import', out('a.tar'), '--to', address],
      ['import', out('a.tar'), '--to', `me:${typed}@site.test:5000`, '--json'],
      ['import', out('a.tar'), '--to', 'site.test', '--rename', `source.test/*=${address}/*`],
      ['copy', `${front.host}/acme/app:1`, '--to', address],
      ['index', 'inspect', address],
      ['login', address, '-u', 'me', '--password-stdin'],
      ['logout', `me:${typed}@source.test`],
    ])
      await run(args, [1, 2]);
    const mirrored = [
      'export',
      'a.test/b:1',
      '-o',
      out('g.tar'),
      '--registries-yaml',
      yaml,
      '--retries',
      '0',
    ];
    await run(mirrored, [1]);

    const secrets = [reader.password, writer.password, proxyUser.password, identityToken];
    secrets.push(signature, wrong, typed, ...source.tokenRequests.flatMap(({ token }) => token ?? []));
    const states = [front, back].flatMap(({ log }) =>
      log.requests.flatMap(({ target }) => /_state=([^&]*)/.exec(target)?.[1] ?? []),
    );
    assert.ok(states.length > 0 && source.tokenRequests.length > 10);
    const forms = [...secrets, ...states].flatMap(formsOf);
    const files = filesIn(work);
    assert.ok(
      files.some((path) => path.endsWith('.partial')) && files.some((path) => path.includes('journal')),
    );
    const texts = outputs.map((text): [string, string] => ['an output', text]);
    for (const path of files) texts.push([path, readFileSync(path).toString('latin1')]);
    for (const [where, text] of texts)
      for (const form of forms) {
        const at = text.indexOf(Buffer.from(form).toString(where === 'an output' ? 'utf8' : 'latin1'));
        assert.ok(at < 0, `${where}: ${form} in ${text.slice(Math.max(0, at - 300), at + 100)}`);
      }
  });
});

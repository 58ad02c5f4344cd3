import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { it, type TestContext } from 'node:test';
import type { Credentials } from '../../../src/registry/config/options.js';
import { candidateKeys, CredentialStore, normaliseKey } from '../../../src/registry/auth/credentials.js';
import { temp } from '../../support/temp.js';

const basic = (user: string, password: string): string =>
  Buffer.from(`${user}:${password}`).toString('base64');
const password = (username: string, word: string): Credentials => ({
  kind: 'password',
  username,
  password: word,
});

interface Store {
  readonly store: CredentialStore;
  readonly warnings: string[];
}

async function storeOf(t: TestContext, ...files: unknown[]): Promise<Store> {
  const dir = temp(t);
  const authFiles: string[] = [join(dir, 'not-there.json')];
  for (const [at, content] of files.entries()) {
    const path = join(dir, `${at}.json`);
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    authFiles.push(path);
  }
  const warnings: string[] = [];
  const warn = (text: string): void => void warnings.push(text);
  return { store: new CredentialStore({ authFiles, explicit: undefined, hosts: {}, warn }), warnings };
}

/** Installs a credential helper, a shell script, on the PATH. */
async function helper(t: TestContext, name: string, script: string): Promise<void> {
  const dir = join(temp(t), 'bin');
  await mkdir(dir);
  const path = join(dir, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  const before = process.env['PATH'];
  process.env['PATH'] = `${dir}${delimiter}${before ?? ''}`;
  t.after(() => {
    process.env['PATH'] = before;
  });
}

it('reads the keys that docker, podman and skopeo write', () => {
  assert.equal(normaliseKey('https://index.docker.io/v1/'), 'index.docker.io');
  assert.equal(normaliseKey('http://host:5000'), 'host:5000');
  assert.equal(normaliseKey('host:5000/v2/'), 'host:5000');
  assert.equal(normaliseKey('host/team/'), 'host/team');
  assert.deepEqual(candidateKeys('h:5000', 'a/b'), ['h:5000/a/b', 'h:5000/a', 'h:5000']);
  assert.deepEqual(candidateKeys('docker.io', '').length, 3);
});

it('uses the longest key of the first file that has one', async (t) => {
  const { store } = await storeOf(
    t,
    { auths: { 'h.test': { auth: basic('first', 'a:b') }, 'other.test': {} } },
    {
      auths: {
        'h.test/team': { auth: basic('team', 'x') },
        'g.test': { auth: basic('g', 'x') },
        'g.test/team': { auth: basic('team', 'x') },
        'g.test/team/app': { auth: basic('app', 'x') },
        'https://index.docker.io/v1/': { auth: basic('hub', 'x') },
      },
    },
  );
  assert.deepEqual(await store.find('h.test', 'team/app'), password('first', 'a:b'));
  assert.deepEqual(await store.find('g.test', 'team/app/x'), password('app', 'x'));
  assert.deepEqual(await store.find('g.test', 'team/b'), password('team', 'x'));
  assert.deepEqual(await store.find('g.test', 'teammates'), password('g', 'x'));
  assert.deepEqual(await store.find('docker.io', 'library/redis'), password('hub', 'x'));
  assert.equal(await store.find('other.test', 'a'), undefined);
  assert.equal(await store.find('h.test.evil', 'a'), undefined);
});

it('reads identity tokens', async (t) => {
  const { store } = await storeOf(t, {
    auths: { 'h.test': { auth: basic('x', ''), identitytoken: 'refresh' } },
  });
  assert.deepEqual(await store.find('h.test', 'a'), { kind: 'identity-token', token: 'refresh' });
});

it('rejects malformed files without quoting them', async (t) => {
  const secret = 'c0nfidential';
  for (const content of [`{"auths": {"h.test": {"auth": "${secret}`, '[1]', `"${secret}"`]) {
    const { store } = await storeOf(t, content);
    await assert.rejects(store.find('h.test', 'a'), (error: Error & { code: string }) => {
      assert.equal(error.code, 'input');
      assert.doesNotMatch(`${error.message}${String(error.cause)}`, /c0nfidential/);
      return true;
    });
  }
  const { store } = await storeOf(t, {
    auths: { 'h.test': { auth: Buffer.from(secret).toString('base64') } },
  });
  await assert.rejects(store.find('h.test', 'a'), { code: 'input', message: /not base64 of user:password/ });
});

it('runs a helper for one host before `auths`, a helper for all hosts after it', async (t) => {
  await helper(
    t,
    'airlift-a',
    'read -r key; [ "$1" = get ] && echo "{\\"ServerURL\\":\\"$key\\",\\"Username\\":\\"<token>\\",\\"Secret\\":\\"tok-$key\\"}"',
  );
  await helper(t, 'airlift-b', 'read -r key; echo "{\\"Username\\":\\"u\\",\\"Secret\\":\\"pass-$key\\"}"');
  const { store, warnings } = await storeOf(t, {
    auths: { 'a.test': { auth: basic('a', 'x') }, 'b.test': { auth: basic('b', 'x') }, 'docker.io': {} },
    credHelpers: { 'a.test': 'airlift-a', 'n.test/team': 'airlift-a' },
    credsStore: 'airlift-b',
  });
  assert.deepEqual(await store.find('a.test', 'x'), { kind: 'identity-token', token: 'tok-a.test' });
  assert.deepEqual(await store.find('n.test', 'team/x'), {
    kind: 'identity-token',
    token: 'tok-n.test/team',
  });
  assert.deepEqual(await store.find('b.test', 'x'), password('b', 'x'));
  assert.deepEqual(await store.find('c.test', 'x'), password('u', 'pass-c.test'));
  assert.deepEqual(await store.find('docker.io', 'x'), password('u', 'pass-https://index.docker.io/v1/'));
  assert.deepEqual(warnings, []);
});

it('warns with the message of a helper that fails, and continues without it', async (t) => {
  await helper(t, 'airlift-bad', 'echo "the vault is\nlocked" >&2; exit 3');
  await helper(t, 'airlift-none', 'echo "credentials not found in native keychain"; exit 1');
  await helper(t, 'airlift-odd', 'echo "{\\"Username\\": \\"c0nfidential"');
  const credHelpers = {
    'a.test': 'airlift-bad',
    'b.test': 'airlift-none',
    'c.test': 'airlift-odd',
    'd.test': 'airlift-missing',
    'e.test': '../evil',
  };
  const { store, warnings } = await storeOf(t, { credHelpers });
  for (const host of [...Object.keys(credHelpers), 'a.test'])
    assert.equal(await store.find(host, 'x'), undefined);
  assert.deepEqual(warnings, [
    'run docker-credential-airlift-bad get for a.test: failed (3): the vault is locked',
    'run docker-credential-airlift-odd get for c.test: the output is not a JSON object with Username and Secret',
    'run docker-credential-airlift-missing get for d.test: no such program',
    'run credential helper "../evil": not a valid helper name',
  ]);
});

it('prefers explicit credentials to all files, for their registry', async () => {
  const places = { authFiles: [], warn: () => undefined };
  const one = new CredentialStore({
    ...places,
    explicit: { username: 'u', password: 'p', registry: 'a.test' },
    hosts: { 'b.test': { credentials: { username: 'v', password: 'q' } }, 'c.test': { identityToken: 't' } },
  });
  assert.deepEqual(await one.find('a.test', 'x'), password('u', 'p'));
  assert.deepEqual(await one.find('b.test', 'x'), password('v', 'q'));
  assert.deepEqual(await one.find('c.test', 'x'), { kind: 'identity-token', token: 't' });
  assert.equal(await one.find('d.test', 'x'), undefined);
});

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isRegistry } from '../../src/oci/reference.js';
import { airlift, airliftPath, stateEnv } from '../support/airlift.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { onTerminal } from '../support/terminal.js';

test('a typing error gets a one-line error and a hint with the likely word', async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'images.txt'), 'redis\n');
  mkdirSync(join(dir, 'redis'));
  const calls: readonly (readonly [string[], RegExp])[] = [
    [
      ['export', 'redis', '--platfrom', 'linux/amd64', '-o', 'x.tar'],
      /unknown flag "--platfrom"\n +hint: --platform;/,
    ],
    [
      ['export', 'redis', '-platform', 'linux/amd64', '-o', 'x.tar'],
      /unknown flag "-platform"\n +hint: --platform;/,
    ],
    [['exprot'], /unknown command "exprot"\n +hint: airlift export;/],
    [['index', 'craete'], /unknown command "craete"\n +hint: airlift index create;/],
    [['import', 'x.tar', '--to'], /--to needs a value/],
    [['serve', '--store'], /--store needs a value/],
    [['import', 'x.tar', '--to', 'host.corp:99999'], /not a registry host/],
    [['export', 'redis', '-o', '-'], /output does not accept - \(standard input or output\)/],
    [['export', 'images.txt', '-o', 'x.tar'], /it is a file.*\n +hint: --images images\.txt/],
    [['copy', './images.txt', '--to', 'host.corp'], /it is a file/],
  ];
  for (const [args, message] of calls) {
    const { stderr } = await airlift(args, { codes: [2], cwd: dir });
    assert.match(stderr, message, args.join(' '));
    assert.ok(stderr.split('\n').length <= 4, stderr);
  }
  assert.equal(isRegistry('[:::1]:5000'), false);
});

test('a stray % in the user name or password of a proxy is literal', async (t) => {
  const host = await serveStore(t);
  for (const proxy of ['http://us%er:pass%word@127.0.0.1:1', 'http://user:100%@127.0.0.1:1']) {
    const { stderr } = await airlift(['export', 'registry.example/a:1', '--dry-run', '--retries', '0'], {
      codes: [1],
      env: { HTTPS_PROXY: proxy, https_proxy: proxy },
    });
    assert.match(stderr, /proxy 127\.0\.0\.1:1 cannot be reached/);
    assert.doesNotMatch(stderr, /pass%word|100%/);
  }
  assert.ok(host);
});

test('--tls-verify=false --emit uses the scheme of the registry', async (t) => {
  const host = await serveStore(t);
  await pushImage(host, 'team/app', '1', multiPlatform({ name: 'app', platforms: ['linux/amd64'] }));
  const bundle = join(temp(t), 'site.tar');
  const emit = join(temp(t), 'emit');
  await airlift(['export', `${host}/team/app:1`, '-o', bundle]);
  await airlift(['import', bundle, '--to', `${host}/again`, '--tls-verify=false', '--emit', emit]);
  assert.match(readFileSync(join(emit, 'registries.yaml'), 'utf8'), new RegExp(`http://${host}`));
});

test('login prints its questions on the terminal', { skip: needs('python3') }, async (t) => {
  const host = await serveStore(t);
  const terminal = onTerminal(['login', host, '--authfile', join(temp(t), 'auth.json')]);
  await terminal.until(/user name: (?!.*\u001b\[0?J)/);
  terminal.type('me\r');
  await terminal.until(/password: /);
  terminal.type('secret\r');
  const { code, shown } = await terminal.ended;
  assert.equal(code, 0, shown);
  assert.doesNotMatch(shown, /secret/);
});

test('an export above the file size limit fails with a hint', async (t) => {
  const host = await serveStore(t);
  await pushImage(
    host,
    'acme/large',
    '1',
    singlePlatform('linux/amd64', { name: 'large', bigBytes: 3_000_000 }),
  );
  const output = join(temp(t), 'site.tar');
  // The shell counts blocks of 512 or 1024 bytes: at most one megabyte.
  const command = `ulimit -f 1000; exec "$0" "$@"`;
  const args = ['-c', command, process.execPath, airliftPath, 'export', `${host}/acme/large:1`, '-o', output];
  const { stderr } = await run('/bin/sh', args, { codes: [1], env: stateEnv });
  assert.match(stderr, /EFBIG/);
  assert.match(stderr, /^ {2}hint: the filesystem does not allow files of this size/m);
});

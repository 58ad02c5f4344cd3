import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { isAirliftError } from '../../src/errors.js';
import { serve } from '../../src/serve/serve.js';
import { airlift, airliftPath, stateEnv } from '../support/airlift.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { startExportSetup } from '../support/exporting.js';
import { singlePlatform } from '../support/image-sets.js';
import { run, type RunResult } from '../support/peers.js';
import { temp } from '../support/temp.js';

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x08;
  writeFileSync(path, bytes);
}

describe('a damaged bundle', () => {
  const dir = temp({ after });
  const whole = join(dir, 'whole.tar');
  const store = join(dir, 'store');
  let host = '';
  let close = (): Promise<void> => Promise.resolve();
  let places: { manifest: number; layer: number; index: number; sums: number; header: number; size: number };
  let count = 0;
  before(async () => {
    await writeBundle(
      whole,
      everyKind().filter(({ reference }) => reference?.includes('windows') !== true),
    );
    const reader = await BundleReader.open(whole);
    const last = [...reader.blobs()].filter(({ kind, size }) => kind === 'manifest' && size > 0).at(-1);
    const layer = [...reader.blobs()].find(({ kind, size }) => kind === 'layer' && size > 100_000);
    assert.ok(last !== undefined && layer !== undefined);
    places = {
      manifest: (reader.position(last.digest) ?? 0) + 20,
      layer: (reader.position(layer.digest) ?? 0) + 1000,
      index: (reader.head.entries.get('index.json')?.contentPosition ?? 0) + 200,
      sums: (reader.head.entries.get('airlift/SHA256SUMS')?.contentPosition ?? 0) + 700,
      header: reader.head.entries.get('index.json')?.position ?? 0,
      size: reader.size,
    };
    await reader.close();
    const serving = await serve({ store }, { port: 0 });
    host = `${serving.host}:${serving.port}`;
    close = () => serving.close();
  });
  after(() => close());

  const damages = {
    'in its last manifest': (path: string) => flip(path, places.manifest),
    'in index.json': (path: string) => flip(path, places.index),
    'in SHA256SUMS': (path: string) => flip(path, places.sums),
    'in a header of its head': (path: string) => flip(path, places.header + 130),
    'by bytes behind its end': (path: string) => appendFileSync(path, Buffer.alloc(512)),
    'in the blocks that end it': (path: string) => flip(path, places.size - 100),
  };
  for (const [where, damage] of Object.entries(damages)) {
    test(`${where} is rejected with exit code 4 before anything is published or written`, async () => {
      const path = join(dir, `damaged${++count}.tar`);
      copyFileSync(whole, path);
      damage(path);
      await airlift(['verify', path], { codes: [4] });
      const out = join(dir, `out${count}`);
      mkdirSync(out);
      const runs = [
        ['import', path, '--to', host],
        ['import', path, '--to', host, '--keep-going'],
        ['import', path, whole, '--to', host],
        ['save', path, '--format', 'oci-archive', '-o', join(out, 'a.tar')],
        ['save', path, '--format', 'k3s', '-o', `${out}/`],
        ['import', path, '-o', join(out, 'b.tar')],
      ];
      for (const args of runs) {
        const { stderr } = await airlift(args, { codes: [4] });
        assert.match(stderr, /hint: run airlift verify/);
        assert.doesNotMatch(stderr, /^\s+at /m);
      }
      assert.deepEqual(readdirSync(out), []);
      assert.equal(existsSync(join(store, 'repositories')), false, 'nothing is published');
    });
  }

  test('on standard input is rejected before anything is published; an intact one is imported', async () => {
    const path = join(dir, 'piped.tar');
    copyFileSync(whole, path);
    flip(path, places.manifest);
    const out = join(dir, 'piped-out.tar');
    const piped = (file: string, ...args: string[]): Promise<RunResult> =>
      run(
        'sh',
        ['-c', 'cat "$1" | "$2" "$3" import - "$4" "$5"', 'sh', file, process.execPath, airliftPath, ...args],
        {
          env: stateEnv,
          codes: [0, 4],
        },
      );
    const refused = await piped(path, '--to', host);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /read standard input: .*digest mismatch/);
    assert.equal(existsSync(join(store, 'repositories')), false, 'nothing is published');
    assert.equal((await piped(whole, '-o', out)).code, 0);
    await airlift(['verify', out]);
  });

  test('is rejected by serve at start', async () => {
    const path = join(dir, 'served.tar');
    copyFileSync(whole, path);
    flip(path, places.manifest);
    await assert.rejects(serve({ inputs: [path] }, { port: 0 }), (error) => isAirliftError(error, 'damaged'));
  });

  test('in a layer ends an import and a save with exit code 4', async () => {
    const path = join(dir, 'layer.tar');
    copyFileSync(whole, path);
    flip(path, places.layer);
    const out = join(dir, 'layer-out.tar');
    for (const args of [
      ['import', path, '--to', host],
      ['save', path, '--format', 'oci-archive', '-o', out],
    ]) {
      const { stderr } = await airlift(args, { codes: [4] });
      assert.match(stderr, /digest mismatch/);
    }
    assert.equal(existsSync(out), false);
  });
});

test('a directory as the output file is rejected at once with a hint', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('one', singlePlatform('linux/amd64', { name: 'one' }));
  const dir = temp(t);
  const bundle = join(temp(t), 'site.tar');
  await airlift(['export', ...setup.names('one'), '-o', bundle]);
  setup.proxy.log.clear();
  const runs: readonly (readonly string[])[] = [
    ['export', ...setup.names('one'), '-o', dir],
    ['export', ...setup.names('one'), '--force', '-o', dir],
    ['export', ...setup.names('one'), '-o', `${dir}/new/`],
    ['export', ...setup.names('one'), '-o', `${dir}/a.tar`, '--lock', dir],
    ['import', bundle, '-o', dir],
    ['copy', `${setup.proxy.host}/acme/one:1`, '--to', '127.0.0.1:1', '--failed', dir],
    ['save', bundle, '--format', 'oci-archive', '-o', dir, '--force'],
    ['save', bundle, '--format', 'docker-archive', '-o', dir],
  ];
  for (const args of runs) {
    const { stderr } = await airlift(args, { codes: [2] });
    assert.match(
      stderr,
      /is a directory; want a file\n {2}hint: choose a file in it: (-o|--output|--lock|--failed) .*\/(site|images|failed)\./,
    );
  }
  assert.equal(setup.proxy.log.find('GET', /./).length, 0, 'no request was sent');
  assert.deepEqual(readdirSync(dir), []);
});

test(
  'serve --store rejects a directory that is not writable at start',
  {
    skip: process.getuid?.() === 0 ? false : 'only root can run as somebody else',
  },
  async (t) => {
    const dir = temp(t);
    chmodSync(dir, 0o555);
    const script = `
    process.setgid(65534); process.setuid(65534);
    const { main } = await import(${JSON.stringify(new URL('../../src/cli/main.js', import.meta.url).href)});
    process.exitCode = await main(['serve', '--store', process.argv[1], '--listen', ':0']);
    if (process.exitCode === 0) process.exit(9);`;
    const { run } = await import('../support/peers.js');
    for (const store of [dir, join(dir, 'deep', 'store')]) {
      const { stderr } = await run(process.execPath, ['--input-type=module', '-e', script, store], {
        codes: [1],
      });
      assert.match(stderr, /open store .*: cannot write to .* \(EACCES\)\n {2}hint: /);
    }
  },
);

test('export and verify print the SHA-256 digest of SHA256SUMS', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('one', singlePlatform('linux/amd64', { name: 'one' }));
  const bundle = join(temp(t), 'site.tar');
  const exported = await airlift(['export', ...setup.names('one'), '-o', bundle]);
  const reader = await BundleReader.open(bundle);
  const entry = reader.head.entries.get('airlift/SHA256SUMS');
  assert.ok(entry !== undefined);
  const bytes = await reader.file.read(entry.contentPosition, entry.size);
  await reader.close();
  const want = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const verified = await airlift(['verify', bundle]);
  for (const { stdout } of [exported, verified])
    assert.ok(stdout.includes(`SHA256SUMS digest: ${want}\n`), stdout);
  assert.match(verified.stdout, /compare it with the digest that export printed/);
  const json = await airlift(['verify', bundle, '--json']);
  assert.equal((JSON.parse(json.stdout) as { sums: string }).sums, want);
});

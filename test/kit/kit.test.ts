import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { serializeApplication } from '../../src/kit/application.js';
import { addApplication } from '../../src/kit/executable.js';
import { readKitFiles } from '../../src/kit/files.js';
import { buildKit } from '../../src/kit/kit.js';
import { runtimes, tarballName } from '../../src/kit/runtimes.js';
import type { KitSummary } from '../../src/kit/summary.js';
import { digestOf } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { airlift } from '../support/airlift.js';
import { failsWith } from '../support/errors.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { needsRuntime, readLocalRuntime, runtimeOf, tarballs } from './local-kit.js';

const everyPlatform = runtimes.map(({ platform }) => platform);

describe('a kit for both platforms', { skip: needsRuntime(...everyPlatform) || needs('sha256sum') }, () => {
  const output = temp({ after });
  let summary: KitSummary & { event: string };

  before(async () => {
    const { stdout } = await airlift(['kit', '--from', tarballs, '-o', output, '--json', '-q']);
    summary = JSON.parse(stdout) as KitSummary & { event: string };
  });

  test('has digests that the programs of a site check', async () => {
    assert.equal(summary.event, 'done');
    assert.deepEqual(readdirSync(output).sort(), ['README-FIRST.txt', 'airlift']);
    assert.deepEqual(readdirSync(summary.directory).sort(), [
      'LICENSES',
      'SHA256SUMS',
      'airlift',
      'linux-amd64.gz',
      'linux-arm64.gz',
    ]);
    await run('sha256sum', ['-c', '--strict', 'SHA256SUMS'], { cwd: summary.directory });
    const sums = readFileSync(join(summary.directory, 'SHA256SUMS'));
    assert.equal(digestOf(sums), summary.sums);
    assert.equal(sums.toString().split('\n').length - 1, 5);
    assert.match(readFileSync(join(summary.directory, 'LICENSES', 'airlift.txt'), 'utf8'), /\nyargs \d/);
    assert.match(readFileSync(join(summary.directory, 'LICENSES', 'node-24.21.0.txt'), 'utf8'), /OpenSSL/);
  });

  test('has executables that are Node.js but for a digit and the program headers', async () => {
    const { application } = await readKitFiles();
    for (const executable of summary.executables) {
      const packed = readFileSync(join(summary.directory, executable.file));
      assert.equal(packed.byteLength, executable.compressedSize);
      assert.ok(packed.byteLength < 44 * 1024 * 1024, `${executable.platform}: ${packed.byteLength} bytes`);
      const program = gunzipSync(packed);
      assert.equal(digestOf(program), executable.digest);
      const { program: runtime } = await readLocalRuntime(runtimeOf(executable.platform));
      const changed: number[] = [];
      for (let at = 0; at < runtime.byteLength; at += 4096) {
        const end = Math.min(at + 4096, runtime.byteLength);
        if (runtime.compare(program, at, end, at, end) === 0) continue;
        for (let byte = at; byte < end; byte++) if (runtime[byte] !== program[byte]) changed.push(byte);
      }
      const outside = changed.filter((at) => at < 64 || at >= 64 + 14 * 56);
      assert.equal(outside.length, 1);
      assert.equal(String.fromCharCode(program[outside[0] ?? 0] ?? 0), '1');
      assert.ok(program.includes(application));
      assert.deepEqual(Buffer.concat(addApplication(runtime, application)), program);
    }
  });

  test('loses the executables of platforms that the next kit leaves out', async () => {
    const platforms = ['linux/arm64'].map(parsePlatform);
    const next = await buildKit({ output, platforms, from: tarballs, cache: tarballs, bundles: ['a.tar'] });
    const names = readdirSync(next.directory).sort();
    assert.deepEqual(names, ['LICENSES', 'SHA256SUMS', 'airlift', 'linux-arm64.gz']);
    const before = summary.executables.find(({ platform }) => platform === 'linux/arm64');
    assert.equal(next.executables[0]?.digest, before?.digest);
    assert.match(readFileSync(next.readme, 'utf8'), /\n {4}sh airlift\/airlift verify a\.tar\n/);
    await run('sha256sum', ['-c', '--strict', 'SHA256SUMS'], { cwd: next.directory });
  });
});

test('the application has the bytes that Node.js itself writes', { skip: needsRuntime() }, async (t) => {
  const dir = temp(t);
  const { program } = await readLocalRuntime();
  writeFileSync(join(dir, 'node'), program, { mode: 0o755 });
  const main = Buffer.from('console.log("main")\n');
  const asset = Buffer.from('asset ü\n');
  writeFileSync(join(dir, 'main.js'), main);
  writeFileSync(join(dir, 'asset'), asset);
  const config = {
    main: 'main.js',
    output: 'blob',
    disableExperimentalSEAWarning: true,
    assets: { 'a-worker.js': 'asset' },
    execArgv: ['--disable-warning=ExperimentalWarning', '--no-deprecation'],
    execArgvExtension: 'none',
  };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
  await run('./node', ['--experimental-sea-config', 'config.json'], { cwd: dir });
  const { execArgv } = config;
  const own = serializeApplication({ main, assets: new Map([['a-worker.js', asset]]), execArgv });
  assert.deepEqual(own, readFileSync(join(dir, 'blob')));
});

test('a platform without a runtime is an error that names the others', async (t) => {
  const result = await airlift(['kit', '--platform', 'linux/amd64,linux/arm/v7', '-o', temp(t)], {
    codes: [1],
  });
  assert.match(
    result.stderr,
    /no Node\.js for this platform; got linux\/arm\/v7, want linux\/amd64 or linux\/arm64\n {2}hint: /,
  );
});

test('files that are not those of a kit are kept', async (t) => {
  const output = temp(t);
  mkdirSync(join(output, 'airlift'));
  writeFileSync(join(output, 'airlift', 'thesis.txt'), 'mine');
  const options = { output, cache: tarballs, from: tarballs };
  await failsWith(
    buildKit(options),
    'exists',
    /write a kit to .*airlift: it has other files, such as "thesis\.txt"/,
  );
  assert.deepEqual(readdirSync(join(output, 'airlift')), ['thesis.txt']);
  const other = temp(t);
  writeFileSync(join(other, 'README-FIRST.txt'), 'mine');
  await failsWith(
    buildKit({ ...options, output: other }),
    'exists',
    /README-FIRST\.txt: another file has this name/,
  );
  assert.deepEqual(readdirSync(other), ['README-FIRST.txt']);
});

test(
  'export --with-kit writes a kit beside the bundle, and names the bundle',
  { skip: needsRuntime() },
  async (t) => {
    const registry = await serveStore(t);
    const image = singlePlatform('linux/amd64', { name: 'web' });
    await pushImage(registry, 'acme/web', '1', image);
    const [cache, output] = [temp(t), temp(t)];
    const { platform, package: name, version } = runtimeOf();
    const tarball = tarballName({ package: name, version });
    mkdirSync(join(cache, 'airlift', 'kit'), { recursive: true });
    copyFileSync(join(tarballs, tarball), join(cache, 'airlift', 'kit', tarball));
    const start = ['export', `${registry}/acme/web:1`, '-o', join(output, 'my site.tar'), '-q', '--json'];
    const options = { env: { XDG_CACHE_HOME: cache, npm_config_registry: 'http://127.0.0.1:1' } };

    const wrong = await airlift([...start, '--with-kit', 'linux/s390x'], { ...options, codes: [1] });
    assert.match(wrong.stdout + wrong.stderr, /no Node\.js for this platform; got linux\/s390x/);
    assert.deepEqual(readdirSync(output), []);

    const { stdout } = await airlift([...start, '--with-kit', platform], options);
    const { kit } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { kit: KitSummary };
    assert.deepEqual(readdirSync(output).sort(), ['README-FIRST.txt', 'airlift', 'my site.tar']);
    assert.deepEqual(
      kit.executables.map((executable) => executable.platform),
      [platform],
    );
    assert.match(readFileSync(kit.readme, 'utf8'), /\n {4}sh airlift\/airlift verify 'my site\.tar'\n/);
  },
);

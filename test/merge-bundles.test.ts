import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { writeBundle } from './bundle/write-bundle.js';
import { airlift } from './support/airlift.js';
import { cosignOf, referrersTagOf, sbomOf } from './support/artifacts.js';
import { multiPlatform, singlePlatform } from './support/image-sets.js';
import type { TestImage } from './support/images.js';
import { needs, run } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { startAirlift } from './support/started.js';
import { temp, type Cleanup } from './support/temp.js';
import { until } from './support/until.js';
import { firstMonth, secondMonth, startYear } from './support/year.js';

const env = { SOURCE_DATE_EPOCH: '1700000000' };
const platforms = ['linux/amd64', 'linux/arm64'];

const merge = (args: readonly string[], codes: readonly number[] = [0]): ReturnType<typeof airlift> =>
  airlift(['merge', ...args], { env, codes: [...codes] });

/** Asks the catalog of a bundle, with the programs that an auditor has. */
async function ask(bundle: string, sql: string): Promise<string> {
  const catalog = `${bundle}.catalog`;
  writeFileSync(catalog, (await run('tar', ['xOf', bundle, 'airlift/catalog.db'])).bytes);
  const { stdout } = await run('sqlite3', [catalog, sql]);
  rmSync(catalog);
  return stdout.trim();
}

/** Unpacks a bundle and checks every entry with sha256sum. */
async function unpack(bundle: string): Promise<string> {
  const to = `${bundle}.unpacked`;
  mkdirSync(to);
  await run('tar', ['xf', bundle, '-C', to]);
  await run('sha256sum', ['--check', '--strict', '--quiet', 'airlift/SHA256SUMS'], { cwd: to });
  return to;
}

/** Lists what else than the named files lies beside a bundle. */
function besides(bundle: string, ...names: readonly string[]): string[] {
  return readdirSync(dirname(bundle)).filter(
    (name) => name.startsWith(basename(bundle)) && !names.includes(name),
  );
}

describe('merge', { skip: needs('docker-registry', 'skopeo', 'sqlite3', 'tar', 'sha256sum') }, () => {
  test('a delta and its base become the bundle that one export of both months writes, byte for byte', async (t) => {
    const year = await startYear(t);
    const unmoved = { 'acme/web:1': firstMonth['acme/web:1'] ?? assert.fail() };
    const old = await year.export(unmoved, 'old.tar');
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', old);
    const want = await year.export({ ...unmoved, ...secondMonth }, 'want.tar');
    const merged = join(year.dir, 'merged.tar');
    const { stdout } = await merge([delta, old, '-o', merged]);
    assert.match(stdout, /^merged 2 bundles into .*merged\.tar: 5 images \(linux\/amd64, linux\/arm64\), /);
    await run('cmp', [merged, want]);
    assert.equal(await ask(merged, 'PRAGMA user_version'), '1');
    assert.equal(
      await ask(merged, "SELECT count(*) FROM sqlite_schema WHERE name IN ('bases', 'places')"),
      '0',
    );
    assert.equal(await ask(merged, 'SELECT count(*) FROM blobs WHERE left_out IS NOT NULL'), '0');
    await airlift(['verify', merged]);
    const layout = await unpack(merged);
    for (const name of year.names(secondMonth).filter((one) => !one.includes('rancher/')))
      await run('skopeo', [
        'copy',
        '-q',
        '--all',
        `oci:${layout}:${name}`,
        `dir:${join(year.dir, 'copied')}`,
      ]);
    assert.deepEqual(besides(merged, 'merged.tar', 'merged.tar.unpacked'), []);
    await airlift(['import', merged, '--to', year.site.host]);
  });

  test('a delta without its base names what is missing and which bundles to add, and writes nothing', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const byBundle = await year.export(secondMonth, 'by-bundle.tar', '--base', old);
    const byReceipt = await year.export(secondMonth, 'by-receipt.tar', '--base', receipt);
    const output = join(year.dir, 'merged.tar');
    const sums = /SHA256SUMS digest: (sha256:\w+)/.exec((await airlift(['verify', old])).stdout)?.[1];
    const { stderr } = await merge([byBundle, byReceipt, '-o', output], [1]);
    const missing = (await ask(byBundle, "SELECT digest, size FROM blobs WHERE left_out = 'base'")).split(
      '\n',
    );
    assert.match(
      stderr,
      new RegExp(`merge .*: ${missing.length} layers that deltas leave out are in none of the bundles`),
    );
    for (const line of missing) {
      const [digest = '', size = ''] = line.split('|');
      assert.ok(stderr.includes(`missing: ${digest} (${size} bytes) of ${year.source.host}/`), stderr);
    }
    assert.ok(stderr.includes(`which ${byBundle} leaves out`), stderr);
    assert.match(
      stderr,
      /by-bundle\.tar was made against the bundle of 2023-11-14T22:13:20Z with SHA256SUMS digest sha256:\w{64}\n/,
    );
    assert.ok(sums !== undefined && stderr.includes(sums), stderr);
    assert.match(stderr, /hint: name these bundles, too; or add --delta to write a delta/);
    assert.deepEqual(besides(output), []);
    const receiptOnly = await merge([byReceipt, '-o', output], [1]);
    assert.match(
      receiptOnly.stderr,
      /by-receipt\.tar was made against bundles that were imported into 127\.0\.0\.1:\d+ before 20/,
    );
  });

  test('two deltas become one with --delta, which the site can import', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    await airlift(['import', old, '--to', year.site.host]);
    await year.push(secondMonth);
    const [web = '', ...others] = Object.keys(secondMonth);
    const of = (names: readonly string[]): Record<string, TestImage> =>
      Object.fromEntries(names.map((name) => [name, secondMonth[name] ?? assert.fail()]));
    const first = await year.export(of([web]), 'first.tar', '--base', old);
    const second = await year.export(of(others), 'second.tar', '--base', old);
    const both = join(year.dir, 'both.tar');
    const { stdout } = await merge([first, second, '--delta', '-o', both]);
    assert.match(stdout, /\na delta: \d+ layers \(.*\) left out, which none of the bundles has/);
    await run('cmp', [both, await year.export(secondMonth, 'want.tar', '--base', old)]);
    await airlift(['import', both, '--to', year.site.host]);
    await airlift(['verify', both, '--against', year.site.host]);
    const full = join(year.dir, 'full.tar');
    await merge([both, old, '-o', full, '--on-existing-tag', 'skip'], [0]);
    assert.equal(await ask(full, 'PRAGMA user_version'), '1');
    await airlift(['verify', full]);
  });

  test('two images of one name are an error that names both; a flag chooses, and signatures follow their image', async (t) => {
    const year = await startYear(t);
    const name = 'acme/latest:now';
    const [before, after] = [firstMonth[name], secondMonth[name]];
    assert.ok(before !== undefined && after !== undefined);
    const signed = cosignOf(before, 'sig');
    await pushImage(year.source.host, 'acme/latest', signed.tag, signed.image);
    const old = await year.export({ [name]: before }, 'old.tar');
    await year.push(secondMonth);
    const next = await year.export(secondMonth, 'next.tar');
    const output = join(year.dir, 'merged.tar');
    const { stderr } = await merge([old, next, '-o', output], [1]);
    assert.match(stderr, /merge .*old\.tar, .*next\.tar: one name has different images in two bundles\n/);
    assert.ok(
      stderr.includes(
        `${year.source.host}/${name}: ${before.root.digest} in ${old}, ${after.root.digest} in ${next}`,
      ),
    );
    assert.match(
      stderr,
      /hint: --on-existing-tag overwrite takes the image of the bundle that is named later, --on-existing-tag skip the earlier one/,
    );
    assert.deepEqual(besides(output), []);
    const roots =
      "SELECT digest FROM images JOIN blobs ON blobs.id = root WHERE reference LIKE '%latest:%' ORDER BY 1";
    await merge([old, next, '-o', output, '--on-existing-tag', 'overwrite']);
    assert.equal(await ask(output, roots), after.root.digest);
    await run('cmp', [output, next]);
    await merge([old, next, '-o', output, '--on-existing-tag', 'skip', '--force']);
    assert.deepEqual(
      (await ask(output, roots)).split('\n'),
      [before.root.digest, signed.image.root.digest].sort(),
    );
    await airlift(['verify', output]);
  });

  test("signatures, SBOMs and the publishers' indexes of filtered images survive", async (t) => {
    const year = await startYear(t);
    const image = multiPlatform({ name: 'signed', platforms: [...platforms, 'linux/arm/v7'] });
    const [signature, sbom] = [cosignOf(image, 'sig'), sbomOf(image)];
    const list = referrersTagOf(image, [{ image: sbom, artifactType: 'application/spdx+json' }]);
    await pushImage(year.source.host, 'acme/signed', '1', image);
    await pushImage(year.source.host, 'acme/signed', undefined, sbom);
    await pushImage(year.source.host, 'acme/signed', list.tag, list.image);
    await pushImage(year.source.host, 'acme/signed', signature.tag, signature.image);
    const flags = ['--platform', platforms.join(',')];
    const first = await year.export({ 'acme/signed:1': image }, 'first.tar', ...flags);
    const bare = await year.export({ 'acme/signed:1': image }, 'bare.tar', '--no-referrers', ...flags);
    const other = await year.export(firstMonth, 'other.tar', ...flags);
    const merged = join(year.dir, 'merged.tar');
    await merge([bare, first, other, '-o', merged]);
    await run('cmp', [
      merged,
      await year.export({ 'acme/signed:1': image, ...firstMonth }, 'want.tar', ...flags),
    ]);
    const original = 'SELECT digest FROM images JOIN blobs ON blobs.id = original';
    assert.equal(await ask(merged, original), image.root.digest);
    for (const digest of [sbom.root.digest, signature.image.root.digest])
      assert.equal(
        await ask(merged, `SELECT count(content_offset) FROM blobs WHERE digest = '${digest}'`),
        '1',
      );
  });
});

describe('merge of bundles from elsewhere', () => {
  async function two(t: Cleanup, bigBytes = 400_000): Promise<{ dir: string; a: string; b: string }> {
    const app = { reference: 'registry.example/acme/app:1', image: multiPlatform({ name: 'app', bigBytes }) };
    const image = singlePlatform('linux/amd64', { name: 'tool' });
    const dir = temp(t);
    const [a, b] = [join(dir, 'a.tar'), join(dir, 'b.tar')];
    await writeBundle(a, [app]);
    await writeBundle(b, [{ reference: 'registry.example/acme/tool:1', image }, app]);
    return { dir, a, b };
  }

  test('kill -9 at any time, then the same command again: the same bytes, whatever the order of the bundles', async (t) => {
    const { dir, a, b } = await two(t, 6_000_000);
    const want = join(dir, 'want.tar');
    await merge([a, b, '-o', want]);
    const output = join(dir, 'merged.tar');
    for (const file of ['.partial.journal', '.partial', '.partial']) {
      const process = startAirlift(['merge', b, a, '-o', output], { env });
      await until('the file appears', () => existsSync(output + file) || existsSync(output));
      process.send('SIGKILL');
      await process.ended;
    }
    if (!existsSync(output)) await merge([a, b, '-o', output]);
    await run('cmp', [output, want]);
    assert.deepEqual(besides(output, 'merged.tar'), []);
  });

  test('a blob that is damaged in one bundle is taken from another, with a warning; damaged in all, it is an error', async (t) => {
    const { dir, a, b } = await two(t);
    const want = join(dir, 'want.tar');
    await merge([a, b, '-o', want]);
    const spoil = (path: string): void => {
      const bytes = readFileSync(path);
      const at = bytes.length - 40_000;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(path, bytes);
    };
    spoil(a);
    const output = join(dir, 'merged.tar');
    const { stderr } = await merge([a, b, '-o', output]);
    assert.match(
      stderr,
      /warning: .*a\.tar is damaged: wrong content for sha256:\w+; reading it from .*b\.tar/,
    );
    await run('cmp', [output, want]);
    spoil(b);
    const failed = await merge([a, b, '-o', join(dir, 'none.tar')], [4]);
    assert.match(failed.stderr, /read .*\.tar: .*digest mismatch/);
    assert.ok(!existsSync(join(dir, 'none.tar')));
  });

  test('it reads volumes in several directories, and writes volumes', async (t) => {
    const { dir, a, b } = await two(t);
    const want = join(dir, 'want.tar');
    await merge([a, b, '-o', want]);
    const [first, second] = [join(dir, 'first'), join(dir, 'second')];
    for (const to of [first, second]) mkdirSync(to);
    await airlift(['split', a, '--volume-size', '300K', '-o', join(first, 'a.tar')]);
    for (const name of readdirSync(first).filter((one) => /\.00[24]$/.test(one)))
      await run('mv', [join(first, name), second]);
    const output = join(dir, 'merged.tar');
    const inputs = readdirSync(first).map((name) => join(first, name));
    const volumes = ['--volume-dir', second, '--volume-size', '200K'];
    const { stdout } = await merge([...inputs, b, '-o', output, ...volumes]);
    assert.match(stdout, /next: airlift verify .*merged\.tar\.volumes/);
    const parts = readdirSync(dir)
      .filter((name) => /^merged\.tar\.\d{3}$/.test(name))
      .sort();
    assert.ok(parts.length > 2);
    const joined = Buffer.concat(parts.map((name) => readFileSync(join(dir, name))));
    assert.ok(joined.equals(readFileSync(want)));
    await airlift(['verify', `${output}.volumes`]);
    const taken = await merge([`${output}.001`, b, '-o', output, ...volumes, '--force'], [2]);
    assert.match(taken.stderr, /merge to .*merged\.tar: it is one of the bundles to merge/);
  });

  test(
    'it signs what it writes, and can require signatures',
    { skip: needs('minisign', 'tar') },
    async (t) => {
      const { dir, a, b } = await two(t);
      for (const name of ['home', 'other']) await airlift(['keygen', '-o', join(dir, `${name}.key`), '-W']);
      await airlift(['sign', a, '--key', join(dir, 'home.key')]);
      const output = join(dir, 'merged.tar');
      const required = ['--require-signature', join(dir, 'home.pub')];
      const { stderr } = await merge([a, b, '-o', output, ...required], [4]);
      assert.match(stderr, /check the signature of .*b\.tar/);
      await airlift(['sign', b, '--key', join(dir, 'home.key')]);
      await merge([a, b, '-o', output, ...required, '--sign', join(dir, 'home.key')]);
      await run('tar', ['xf', output, '-C', dir]);
      await run('minisign', [
        '-V',
        '-p',
        join(dir, 'home.pub'),
        '-m',
        join(dir, 'airlift/SHA256SUMS'),
        '-x',
        join(dir, 'airlift/SHA256SUMS.minisig'),
      ]);
      await airlift(['verify', output, '--key', join(dir, 'home.pub')]);
      await airlift(['verify', output, '--key', join(dir, 'other.pub')], { codes: [4] });
    },
  );

  test('an output that is an input, an archive and a taken name are refused', async (t) => {
    const { dir, a, b } = await two(t);
    const before = statSync(a).mtimeMs;
    const same = await merge([a, b, '-o', a, '--force'], [2]);
    assert.match(
      same.stderr,
      /merge to .*a\.tar: it is one of the bundles to merge\n {2}hint: write to another file with --output/,
    );
    assert.equal(statSync(a).mtimeMs, before);
    const taken = await merge([a, '-o', b], [1]);
    assert.match(taken.stderr, /b\.tar: already exists\n {2}hint: .*--force/);
    const other = join(dir, 'other.txt');
    writeFileSync(other, 'no bundle');
    const wrong = await merge([a, other, '-o', join(dir, 'x.tar')], [1]);
    assert.match(wrong.stderr, /other\.txt: not a bundle.*\n {2}hint: .*airlift import ARCHIVE -o site\.tar/);
    assert.ok(!existsSync(join(dir, 'x.tar')));
    assert.match((await merge([join(dir, 'none.tar'), '-o', join(dir, 'x.tar')], [1])).stderr, /none\.tar/);
  });
});

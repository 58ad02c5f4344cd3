import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Catalog } from '../../src/bundle/format/catalog.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { formatReference } from '../../src/oci/reference.js';
import { splitByImage } from '../../src/volumes/split-by-image.js';
import { everyKind, options, writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { singlePlatform } from '../support/image-sets.js';
import { bigLayer, imageOf, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { startAirlift } from '../support/started.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

interface Part {
  readonly path: string;
  readonly size: number;
  readonly needs: readonly number[];
  readonly sums: string;
  readonly isKept: boolean;
}

const partsOf = (stdout: string): readonly Part[] =>
  (JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as { parts: readonly Part[] }).parts;

/** Returns an image with layers of these sizes; layers of the same name are the same. */
function layered(name: string, layers: Readonly<Record<string, number>>): TestImage {
  const platform = 'linux/amd64';
  const big = Object.entries(layers).map(([seed, bytes]) => bigLayer(bytes, seed));
  return imageOf({ platform, layers: big, annotations: { name } });
}

/** Images of which some share a large layer. */
const images: Readonly<Record<string, TestImage>> = {
  'acme/api': layered('api', { base: 900_000, api: 500_000 }),
  'acme/batch': layered('batch', { other: 700_000, batch: 600_000 }),
  'acme/cron': layered('cron', { base: 900_000, cron: 500_000 }),
  'acme/db': layered('db', { other: 700_000, db: 1_200_000 }),
  'acme/edge': layered('edge', { base: 900_000, edge: 1_300_000 }),
};

const env = { SOURCE_DATE_EPOCH: '1700000000' };

/** Lists the references of a bundle. */
async function referencesOf(path: string): Promise<string[]> {
  const reader = await BundleReader.open(path);
  const references = [...reader.images()].map(({ reference }) => formatReference(reference));
  await reader.close();
  return references;
}

describe('parts of a bundle', { skip: needs('sqlite3', 'skopeo', 'tar') }, () => {
  const dir = temp({ after });
  const whole = join(dir, 'site.tar');
  before(() =>
    writeBundle(
      whole,
      Object.entries(images).map(([name, image]) => ({ reference: `registry.example/${name}:1`, image })),
    ),
  );

  test('are bundles no larger than the part size, with each image once and shared layers once', async (t) => {
    const to = temp(t);
    const flags = ['--split-by', 'image', '--part-size', '2800000', '-o', to];
    const { stdout } = await airlift(['split', whole, ...flags]);
    assert.match(
      stdout,
      /\nimport the parts in this order: each needs the layers of the earlier ones\nnext: .*site\.part1\.tar/,
    );
    const names = readdirSync(to).sort();
    assert.ok(names.length >= 2, names.join(' '));
    const seen: string[] = [];
    let layers = 0;
    for (const [at, name] of names.entries()) {
      assert.equal(name, `site.part${at + 1}.tar`);
      const path = join(to, name);
      assert.ok(statSync(path).size <= 2_800_000);
      seen.push(...(await referencesOf(path)));
      const { stdout } = await airlift(['verify', path]);
      assert.match(stdout, new RegExp(`\npart ${at + 1} of ${names.length}: `));
      const { stdout: rows } = await run('sqlite3', [
        await extractCatalog(path, dir),
        "SELECT count(*) FROM blobs WHERE kind = 'layer' AND left_out IS NULL",
      ]);
      layers += Number(rows);
    }
    assert.deepEqual(
      seen.sort(),
      Object.keys(images).map((name) => `registry.example/${name}:1`),
    );
    assert.equal(layers, 7);
  });

  test('are imported in order; a part before the one it needs pushes nothing, and says which comes first', async (t) => {
    const to = temp(t);
    const { parts } = await splitByImage(whole, { output: to, partSize: 2_800_000 });
    const late = parts.find(({ needs }) => needs.length > 0) ?? assert.fail();
    const host = await serveStore(t);
    const refused = await airlift(['import', late.path, '--to', host], { codes: [1] });
    assert.match(refused.stderr, /layers that it leaves out are missing .*; nothing was pushed/);
    const first = parts[(late.needs[0] ?? 0) - 1] ?? assert.fail();
    const hint = `hint: it is part ${late.number} of ${parts.length}: import ${first.path} first, then this part again`;
    assert.ok(refused.stderr.includes(hint), refused.stderr);
    const listed = await fetch(`http://${host}/v2/_catalog`);
    assert.deepEqual(await listed.json(), { repositories: [] });
    for (const { path, number } of parts) {
      await airlift(['import', path, '--to', host]);
      // Programs that read OCI layouts read the first part directly, and the images of the others at the site.
      for (const reference of await referencesOf(path)) {
        const atSite = `docker://${reference.replace('registry.example', host)}`;
        const from = number === 1 ? `oci-archive:${path}:${reference}` : atSite;
        await run('skopeo', [
          '--insecure-policy',
          'copy',
          '-q',
          '--src-tls-verify=false',
          from,
          `dir:${temp(t)}`,
        ]);
      }
    }
    await airlift(['verify', whole, '--against', host]);
    const bases = parts.filter(({ number }) => late.needs.includes(number));
    const flags = bases.flatMap(({ path }) => ['--base', path]);
    const { stdout } = await airlift(['verify', late.path, ...flags]);
    assert.match(stdout, /a delta: the base has the \d+ layer/);
  });

  test('are whole on request: each is imported alone, in any order, and read by skopeo', async (t) => {
    const to = temp(t);
    const flags = ['--split-by', 'image', '--part-size', '2800000', '--whole-parts', '-o', to, '--json'];
    const { stdout } = await airlift(['split', whole, ...flags]);
    const parts = partsOf(stdout);
    for (const { path, needs, size } of parts) {
      assert.deepEqual(needs, []);
      assert.ok(size <= 2_800_000);
      for (const reference of await referencesOf(path))
        await run('skopeo', [
          '--insecure-policy',
          'copy',
          '-q',
          `oci-archive:${path}:${reference}`,
          `dir:${temp(t)}`,
        ]);
      await airlift(['import', path, '--to', await serveStore(t)]);
    }
  });

  test('have the same bytes however often the split is killed', async (t) => {
    const [want, to] = [temp(t), temp(t)];
    const flags = ['--split-by', 'image', '--part-size', '2800000', '-o'];
    const parts = partsOf((await airlift(['split', whole, ...flags, want, '--json'])).stdout);
    for (const sign of ['site.part1.tar.partial', 'site.part1.tar', 'site.part2.tar.partial']) {
      const killed = startAirlift(['split', whole, ...flags, to]);
      let isEnded = false;
      void killed.ended.then(() => (isEnded = true));
      await until(sign, () => isEnded || existsSync(join(to, sign)), 60_000);
      killed.send('SIGKILL');
      await killed.ended;
    }
    const again = partsOf((await airlift(['split', whole, ...flags, to, '--json'])).stdout);
    assert.equal(again[0]?.isKept, true);
    assert.deepEqual(readdirSync(to).sort(), readdirSync(want).sort());
    for (const [at, { path }] of again.entries()) await run('cmp', [path, parts[at]?.path ?? '']);
  });

  test('of an export are those of the bundle that the same export writes', async (t) => {
    const host = await serveStore(t);
    for (const [name, image] of Object.entries(images)) await pushImage(host, name, '1', image);
    const names = Object.keys(images).map((name) => `${host}/${name}:1`);
    const [a, b] = [temp(t), temp(t)];
    const flags = ['--split-by', 'image', '--part-size', '2800000'];
    const bundle = join(a, 'site.tar');
    await airlift(['export', ...names, '-o', bundle], { env });
    const want = partsOf((await airlift(['split', bundle, ...flags, '-o', a, '--json'])).stdout);
    const args = ['export', ...names, ...flags, '-o', join(b, 'site.tar')];
    const killed = startAirlift(args, { env });
    let isEnded = false;
    void killed.ended.then(() => (isEnded = true));
    await until('the second part', () => isEnded || existsSync(join(b, 'site.part2.tar.partial')), 60_000);
    killed.send('SIGKILL');
    await killed.ended;
    const { stdout } = await airlift([...args, '--json'], { env });
    const got = partsOf(stdout);
    assert.equal(got[0]?.isKept, true);
    assert.equal(got.length, want.length);
    for (const [at, { path }] of got.entries()) await run('cmp', [path, want[at]?.path ?? '']);
    assert.deepEqual(
      readdirSync(b).sort(),
      got.map((_, at) => `site.part${at + 1}.tar`),
    );
  });

  test('keep signatures with their images, and hold every kind of image', async (t) => {
    const [dir, to] = [temp(t), temp(t)];
    const path = join(dir, 'every.tar');
    await writeBundle(path, everyKind());
    const refused = await airlift(['split', path, '--split-by', 'image', '--part-size', '300K', '-o', to], {
      codes: [2],
    });
    assert.match(
      refused.stderr,
      /does not fit a part of 307200 bytes\n {2}registry\.example\/\S+ needs \d+ bytes/,
    );
    const smallest = Number(/hint: the smallest --part-size that works is (\d+)/.exec(refused.stderr)?.[1]);
    await airlift(['split', path, '--split-by', 'image', '--part-size', String(smallest - 1), '-o', to], {
      codes: [2],
    });
    assert.deepEqual(readdirSync(to), []);
    for (const wholeParts of [false, true]) {
      const output = temp(t);
      const { parts } = await splitByImage(path, { output, partSize: smallest, wholeParts });
      assert.ok(parts.length > 1);
      const host = await serveStore(t);
      for (const part of parts) {
        assert.ok(part.size <= smallest, `${part.size} <= ${smallest}`);
        const reader = await BundleReader.open(part.path);
        assertTogether(reader.catalog);
        await reader.close();
        await airlift(['verify', part.path]);
        await airlift(['import', part.path, '--to', host]);
      }
      await airlift(['verify', path, '--against', host]);
    }
  });

  test('are refused beside files of the same names and parts of other sets', async (t) => {
    const to = temp(t);
    writeFileSync(join(to, 'site.part1.tar'), 'something else');
    const flags = ['--split-by', 'image', '-o', to, '--part-size'];
    const exists = await airlift(['split', whole, ...flags, '2800000'], { codes: [1] });
    assert.match(exists.stderr, /site\.part1\.tar: already exists, with other content\n.*--force/);
    await airlift(['split', whole, ...flags, '2800000', '--force']);
    renameSync(join(to, 'site.part1.tar'), join(to, 'site.part99.tar'));
    const other = await airlift(['split', whole, ...flags, '2800000'], { codes: [1] });
    assert.match(other.stderr, /site\.part99\.tar is a part of another set/);
    for (const [wrong, message] of [
      [['--part-size', '2G'], /--part-size needs --split-by image/],
      [['--split-by', 'image'], /needs --part-size/],
      [['--split-by', 'image', '--part-size', '2G', '--volume-size', '2G'], /want one of them/],
    ] as const) {
      const { stderr } = await airlift(['split', whole, '-o', to, ...wrong], { codes: [2] });
      assert.match(stderr, message);
    }
  });

  test('and the whole bundle repair each other', async (t) => {
    const to = temp(t);
    const { parts } = await splitByImage(whole, { output: to, partSize: 2_800_000 });
    const copy = join(to, 'copy.tar');
    for (const [path, sources] of [
      [copy, parts.map(({ path }) => path)],
      [parts[0]?.path ?? '', [whole]],
    ] as const) {
      const want = readFileSync(path === copy ? whole : path);
      const bytes = Buffer.from(want);
      bytes.fill(0, bytes.length - 700_000);
      writeFileSync(path, bytes);
      await airlift(['repair', path, ...sources.flatMap((from) => ['--from', from])]);
      assert.ok(readFileSync(path).equals(want));
    }
  });

  test('merged are the whole bundle, byte for byte', async (t) => {
    const to = temp(t);
    const { parts } = await splitByImage(whole, { output: to, partSize: 2_800_000 });
    const merged = join(to, 'merged.tar');
    const created = { SOURCE_DATE_EPOCH: String(options.created.getTime() / 1000) };
    await airlift(['merge', ...parts.map(({ path }) => path), '-o', merged], { env: created });
    await run('cmp', [merged, whole]);
  });

  test('of a delta stay deltas', async (t) => {
    const [dir, to] = [temp(t), temp(t)];
    const host = await serveStore(t);
    const all = { ...images, 'acme/small': singlePlatform('linux/amd64', { name: 'small' }) };
    for (const [name, image] of Object.entries(all)) await pushImage(host, name, '1', image);
    const base = join(dir, 'base.tar');
    await airlift(['export', `${host}/acme/api:1`, '-o', base], { env });
    const delta = join(dir, 'delta.tar');
    const names = Object.keys(all).map((name) => `${host}/${name}:1`);
    await airlift(['export', ...names, '--base', base, '-o', delta], { env });
    const { parts } = await splitByImage(delta, { output: to, partSize: 2_300_000 });
    assert.ok(parts.length > 1);
    const site = await serveStore(t);
    for (const path of [base, ...parts.map(({ path }) => path)])
      await airlift(['import', path, '--to', site]);
    await airlift(['verify', delta, '--against', site]);
  });
});

/** Asserts that a bundle has the image of each of its signatures. */
function assertTogether(catalog: Catalog): void {
  for (const { companionOf } of catalog.images())
    if (companionOf !== undefined) assert.notEqual(catalog.manifest(companionOf), undefined);
}

async function extractCatalog(bundle: string, dir: string): Promise<string> {
  const path = join(dir, 'part.db');
  writeFileSync(path, (await run('tar', ['xOf', bundle, 'airlift/catalog.db'])).bytes);
  return path;
}

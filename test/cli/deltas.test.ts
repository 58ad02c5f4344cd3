import assert from 'node:assert/strict';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import type { DockerRegistry } from '../support/docker-registry.js';
import type { TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { countWrites, firstMonth, holds, secondMonth, startYear } from '../support/year.js';

/** The output of `diff --json`. */
interface Compared {
  readonly changes: readonly { change: string; image: string; from?: string; to?: string }[];
  readonly unchanged: number;
  readonly newBlobs?: { readonly blobs: number; readonly bytes: number };
  readonly isUpperBound: boolean;
}

/** Removes a blob from every repository of a registry, as a garbage collection does. */
function collect(registry: DockerRegistry, digest: string): void {
  const [algorithm = '', hex = ''] = digest.split(':');
  const dir = join(registry.dir, 'docker/registry/v2/blobs', algorithm, hex.slice(0, 2), hex);
  rmSync(dir, { recursive: true });
}

/** Lists the layers of an image's first platform. */
function layersOf(image: TestImage): string[] {
  const [manifest] = [...image.manifests.values()];
  const text = Buffer.concat([...(manifest?.open() ?? [])]).toString();
  return (JSON.parse(text) as { layers: { digest: string }[] }).layers.map(({ digest }) => digest);
}

function firstLayer(image: TestImage): string {
  return layersOf(image)[0] ?? assert.fail();
}

describe('deltas', { skip: needs('docker-registry', 'sqlite3', 'tar') }, () => {
  test('a receipt of an import is sorted text, and the same as an inventory of the registry', async (t) => {
    const year = await startYear(t);
    const bundle = await year.export(firstMonth, 'site.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', bundle, '--to', year.site.host, '--receipt', receipt]);
    const text = readFileSync(receipt, 'utf8');
    const [head = '', body = ''] = text.split('\n\n');
    assert.match(
      head,
      /^airlift receipt 1\nregistry: 127\.0\.0\.1:\d+\ntime: [-\dT:]+Z\nairlift: \d+\.\d+\.\d+$/,
    );
    const sorted = await run('sort', ['-c', '-'], { input: body, env: { LC_ALL: 'C' } });
    assert.equal(sorted.stderr, '');
    for (const [name, image] of Object.entries(firstMonth)) {
      assert.ok(body.includes(`${name} ${image.root.digest} index\n`), name);
      for (const [digest] of [...image.manifests].slice(0, 2))
        assert.match(body, new RegExp(`^${name.split(':')[0]}@${digest} linux/(amd64|arm64)$`, 'm'));
    }
    const second = join(year.dir, 'second.receipt');
    await airlift(['inventory', year.site.host, '-o', second]);
    assert.equal(readFileSync(second, 'utf8').split('\n\n')[1], body);
    const list = join(year.dir, 'list.txt');
    writeFileSync(list, year.names(firstMonth).join('\n'));
    for (const flags of [
      ['--images', list],
      ['--bundle', bundle],
      ['--bundle', bundle, '--images', list, '--bundle', bundle],
    ]) {
      const { stdout } = await airlift(['inventory', year.site.host, ...flags, '-o', second]);
      assert.equal(readFileSync(second, 'utf8').split('\n\n')[1], body);
      const [images, lines] = [Object.keys(firstMonth).length, body.split('\n').length - 1];
      assert.match(stdout, new RegExp(`: ${images} images of 127\\.0\\.0\\.1:\\d+, ${lines} lines$`, 'm'));
    }
  });

  test('an inventory leaves out an image of which a layer is gone', async (t) => {
    const year = await startYear(t);
    await airlift(['import', await year.export(firstMonth, 'site.tar'), '--to', year.site.host]);
    const web = firstMonth['acme/web:1'] ?? assert.fail();
    const own = [...web.blobs.keys()].find(
      (digest) => ![...(firstMonth['acme/latest:now']?.blobs.keys() ?? [])].includes(digest),
    );
    collect(year.site, own ?? assert.fail());
    const receipt = join(year.dir, 'site.receipt');
    const { stderr } = await airlift(['inventory', year.site.host, '-o', receipt]);
    assert.match(stderr, /incomplete in the registry: 127\.0\.0\.1:\d+\/acme\/web@sha256:/);
    const text = readFileSync(receipt, 'utf8');
    assert.ok(text.includes('rancher/pause:3.1 '));
    assert.equal(text.match(/^acme\/web@/gm)?.length ?? 0, 1);
  });

  test('a delta by a receipt: layers of the site are left out, and the import restores every image', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const full = await year.export(secondMonth, 'full.tar');
    const delta = await year.export(secondMonth, 'delta.tar', '--base', receipt);
    assert.ok(statSync(delta).size < statSync(full).size);
    const catalog = join(year.dir, 'catalog.db');
    writeFileSync(catalog, (await run('tar', ['xOf', delta, 'airlift/catalog.db'])).bytes);
    const ask = async (sql: string): Promise<string> => (await run('sqlite3', [catalog, sql])).stdout.trim();
    assert.equal(await ask('PRAGMA user_version'), '2');
    assert.equal(await ask('SELECT kind, registry FROM bases'), `receipt|${year.site.host}`);
    const shared = new Set(Object.values(firstMonth).flatMap((image) => [...image.blobs.keys()]));
    const leftOut = (await ask("SELECT digest FROM blobs WHERE left_out = 'base' ORDER BY digest")).split(
      '\n',
    );
    assert.ok(leftOut.length >= 4);
    for (const digest of leftOut) assert.ok(shared.has(digest as never), digest);
    const carried = (await ask("SELECT digest FROM blobs WHERE kind = 'layer' AND left_out IS NULL")).split(
      '\n',
    );
    for (const digest of carried) assert.ok(!shared.has(digest as never), digest);
    const alone = await airlift(['verify', delta]);
    assert.match(alone.stdout, /a delta: it leaves out \d+ layers \(.*\), which this check cannot see/);
    const both = await airlift(['verify', delta, '--base', old]);
    assert.match(both.stdout, /a delta: the base has the \d+ layers/);
    for (const verb of [
      ['save', delta, '--format', 'oci-archive', '-o', join(year.dir, 'x')],
      ['import', delta, full, '--to', year.site.host],
      ['import', delta, '-o', join(year.dir, 'x')],
    ]) {
      const { stderr } = await airlift(verb, { codes: [1] });
      assert.match(stderr, /it is a delta, without \d+ of its layers\n {2}hint: import it into/);
    }
    await airlift(['import', delta, '--to', year.site.host]);
    await holds(year.site, secondMonth);
    await holds(year.site, { 'acme/web:1': firstMonth['acme/web:1'] ?? assert.fail() });
  });

  test('a delta of an earlier bundle, or of its catalog alone, gives the same left-out layers', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const catalog = join(year.dir, 'catalog.db');
    writeFileSync(catalog, (await run('tar', ['xOf', old, 'airlift/catalog.db'])).bytes);
    await airlift(['import', old, '--to', `${year.site.host}/mirror`, '--keep-registry']);
    await year.push(secondMonth);
    const first = await year.export(secondMonth, 'first.tar', '--base', old);
    const second = await year.export(secondMonth, 'second.tar', '--base', catalog);
    assert.equal(statSync(first).size, statSync(second).size);
    await airlift(['import', second, '--to', `${year.site.host}/mirror`, '--keep-registry']);
    const prefix = `mirror/${year.source.host.replace(':', '_')}`;
    await holds(
      year.site,
      Object.fromEntries(Object.entries(secondMonth).map(([name, image]) => [`${prefix}/${name}`, image])),
    );
  });

  test('a blob collected at the site since: nothing is pushed, and a base bundle helps', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', receipt);
    const gone = firstLayer(secondMonth['acme/web:2'] ?? assert.fail());
    collect(year.site, gone);
    const before = countWrites(year.site);
    const { stderr } = await airlift(['import', delta, '--to', year.site.host], { codes: [1] });
    assert.match(stderr, /layers that it leaves out are missing in 127\.0\.0\.1:\d+; nothing was pushed/);
    assert.ok(stderr.includes(`missing: ${gone} (`), stderr);
    assert.equal(countWrites(year.site), before);
    const request = join(year.dir, 'missing.request');
    await airlift(['import', delta, '--to', year.site.host, '--request', request], { codes: [1] });
    assert.equal(readFileSync(request, 'utf8').match(/^blob /gm)?.length, 1);
    assert.ok(
      readFileSync(request, 'utf8').replaceAll(/[ -]/g, '').toLowerCase().includes(gone.slice(7, 60)),
      'the request names the blob',
    );
    const repair = join(year.dir, 'repair.tar');
    await airlift(['export', '--request', request, '-o', repair]);
    await airlift(['import', delta, '--to', year.site.host, '--base', repair]);
    await holds(year.site, secondMonth);
    collect(year.site, gone);
    await airlift(['import', delta, '--to', year.site.host, '--base', old]);
    await holds(year.site, secondMonth);
  });

  test('a receipt of another site stops the import there', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', old);
    const { stderr } = await airlift(['import', delta, '--to', year.site.host], { codes: [1] });
    assert.match(stderr, /missing: sha256:/);
    const { stdout } = await airlift(['inventory', year.site.host, '-o', join(year.dir, 'x')], {
      codes: [1],
    });
    assert.equal(stdout, '');
  });

  test('two months through a data diode: a record of what was sent takes the place of a receipt', async (t) => {
    const year = await startYear(t);
    const record = join(year.dir, 'site.sent');
    const first = await year.export(firstMonth, 'first.tar', '--sent', record);
    const plain = await year.export(firstMonth, 'plain.tar');
    assert.ok(readFileSync(first).equals(readFileSync(plain)), 'the first bundle is complete');
    const [head = '', body = ''] = readFileSync(record, 'utf8').split('\n\n');
    assert.match(head, /^airlift sent 1\ntime: 2023-11-14T22:13:20Z\nairlift: \d+\.\d+\.\d+$/);
    assert.equal((await run('sort', ['-c', '-'], { input: body, env: { LC_ALL: 'C' } })).stderr, '');
    for (const [name, image] of Object.entries(firstMonth)) {
      assert.ok(body.includes(`${year.source.host}/${name} ${image.root.digest} index\n`), name);
      const layer = `${year.source.host}/${name.split(':')[0]}@${firstLayer(image)} layer\n`;
      assert.ok(body.includes(layer), layer);
    }
    await airlift(['import', first, '--to', year.site.host]);
    await year.push(secondMonth);
    const second = await year.export(secondMonth, 'second.tar', '--sent', record);
    const third = await year.export(secondMonth, 'third.tar', '--base', first);
    assert.equal(statSync(second).size, statSync(third).size);
    const { stdout } = await airlift(['verify', second, '--base', first]);
    assert.match(stdout, /a delta: the base has the \d+ layers/);
    await airlift(['import', second, '--to', year.site.host]);
    await holds(year.site, secondMonth);
    const both = readFileSync(record, 'utf8');
    for (const line of body.split('\n')) assert.ok(both.includes(line), line);
    const moved = `${year.source.host}/acme/latest:now ${secondMonth['acme/latest:now']?.root.digest} index\n`;
    assert.ok(both.includes(moved));
  });

  test('an export that fails records nothing, and a record is never written over something else', async (t) => {
    const year = await startYear(t);
    const record = join(year.dir, 'site.sent');
    const output = join(year.dir, 'site.tar');
    const names = year.names(firstMonth);
    const web = firstMonth['acme/web:1'] ?? assert.fail();
    await year.export({ 'acme/web:1': web }, 'web.tar', '--sent', record);
    const before = readFileSync(record, 'utf8');
    const pause = layersOf(firstMonth['rancher/pause:3.1'] ?? assert.fail());
    const gone = pause.find((digest) => !layersOf(web).includes(digest)) ?? assert.fail();
    collect(year.source, gone);
    for (const [file, bundle] of [
      [record, output],
      [join(year.dir, 'new.sent'), join(year.dir, 'new.tar')],
    ] as const) {
      const { stderr } = await airlift(['export', ...names, '--sent', file, '-o', bundle], { codes: [1] });
      assert.ok(stderr.includes(gone), stderr);
    }
    assert.equal(readFileSync(record, 'utf8'), before);
    assert.throws(() => statSync(join(year.dir, 'new.sent')), { code: 'ENOENT' });
    const forced = await airlift(['export', ...names, '--sent', record, '--force', '-o', output], {
      codes: [2],
    });
    assert.match(forced.stderr, /got --sent and --force; .*\n {2}hint: write to another file with --output/);
    const bundle = join(year.dir, 'web.tar');
    const wrong = await airlift(['export', ...names, '--sent', bundle, '-o', output], { codes: [1, 2] });
    assert.match(wrong.stderr, /got a bundle, want a record of what was sent\n {2}hint: give .* with --base/);
  });

  test('diff compares bundles and receipts', async (t) => {
    const year = await startYear(t);
    const record = join(year.dir, 'site.sent');
    const old = await year.export(firstMonth, 'old.tar', '--sent', record);
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', `${year.site.host}/mirror`, '--receipt', receipt]);
    await year.push(secondMonth);
    const next = await year.export(secondMonth, 'next.tar');
    const compared = async (a: string, b: string): Promise<Compared> =>
      JSON.parse((await airlift(['diff', a, b, '--json'])).stdout) as Compared;
    const both = await compared(old, next);
    const digest = (images: typeof firstMonth, name: string): string | undefined => images[name]?.root.digest;
    assert.deepEqual(
      both.changes.map(({ change, image, from, to }) => [change, image, from, to]),
      [
        [
          'moved',
          'acme/latest:now',
          digest(firstMonth, 'acme/latest:now'),
          digest(secondMonth, 'acme/latest:now'),
        ],
        ['added', 'acme/new:1', undefined, digest(secondMonth, 'acme/new:1')],
        ['removed', 'acme/web:1', digest(firstMonth, 'acme/web:1'), undefined],
        ['added', 'acme/web:2', undefined, digest(secondMonth, 'acme/web:2')],
      ].map(([change, name, ...digests]) => [change, `${year.source.host}/${name}`, ...digests]),
    );
    assert.equal(both.unchanged, 1);
    const catalogs = await Promise.all(
      [old, next].map(async (bundle, at) => {
        const path = join(year.dir, `catalog-${at}.db`);
        writeFileSync(path, (await run('tar', ['xOf', bundle, 'airlift/catalog.db'])).bytes);
        return path;
      }),
    );
    const sql = `ATTACH '${catalogs[0]}' AS old; SELECT count(*), sum(size) FROM main.blobs WHERE digest NOT IN (SELECT digest FROM old.blobs)`;
    const [blobs, bytes] = (await run('sqlite3', [catalogs[1] ?? '', sql])).stdout
      .trim()
      .split('|')
      .map(Number);
    assert.deepEqual(both.newBlobs, { blobs, bytes });
    assert.equal(both.isUpperBound, false);
    assert.deepEqual((await compared(record, next)).newBlobs, both.newBlobs);
    const atSite = await compared(receipt, next);
    assert.deepEqual(
      atSite.changes.map(({ change, image }) => `${change} ${image}`),
      both.changes.map(({ change, image }) => `${change} ${image.replace(year.source.host, 'mirror')}`),
    );
    assert.equal(atSite.isUpperBound, true);
    assert.ok((atSite.newBlobs?.bytes ?? 0) >= (bytes ?? 0));
    const same = await airlift(['diff', receipt, old]);
    assert.equal(same.stdout, '0 added, 0 removed, 0 moved, 3 unchanged; 0 new blobs of 0 B\n');
    const table = await airlift(['diff', old, next]);
    assert.match(table.stdout, /^change +image +from +to +size +new\nmoved +127/);
    assert.match(table.stdout, /\n2 added, 1 removed, 1 moved, 1 unchanged; \d+ new blobs of /);
    const back = await airlift(['diff', next, receipt]);
    assert.match(back.stdout, /\n1 added, 2 removed, 1 moved, 1 unchanged\n$/);
  });
});

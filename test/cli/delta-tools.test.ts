/** Commands that say what a delta is before or after it is written. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { firstMonth, secondMonth, startYear } from '../support/year.js';

interface Preview {
  readonly blobs: number;
  readonly bytes: number;
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
  readonly images: readonly { readonly newBytes: number }[];
  readonly requests: readonly { readonly blobs: number }[];
}

interface Inspected {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly delta?: {
    readonly blobs: number;
    readonly bytes: number;
    readonly bases: readonly { readonly kind: string; readonly registry?: string; readonly digest: string }[];
  };
}

const json = async <T>(...args: readonly string[]): Promise<T> =>
  JSON.parse((await airlift([...args, '--json'])).stdout) as T;

describe('tools for deltas', { skip: needs('docker-registry', 'tar', 'sqlite3', 'sha256sum') }, () => {
  test('export --dry-run counts what the delta carries and leaves out, by a receipt, a bundle and a record', async (t) => {
    const year = await startYear(t);
    const [receipt, record] = [join(year.dir, 'site.receipt'), join(year.dir, 'site.sent')];
    const old = await year.export(firstMonth, 'old.tar', '--sent', record);
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const full = await json<Preview>('export', ...year.names(secondMonth), '--dry-run');
    assert.deepEqual(full.leftOut, { blobs: 0, bytes: 0 });
    const recorded = readFileSync(record);
    for (const [name, ...flags] of [
      ['by-receipt.tar', '--base', receipt],
      ['by-bundle.tar', '--base', old],
      ['by-record.tar', '--sent', record],
    ] as const) {
      const preview = await json<Preview>('export', ...year.names(secondMonth), '--dry-run', ...flags);
      assert.ok(readFileSync(record).equals(recorded), 'a preview records nothing');
      const delta = await year.export(secondMonth, name, ...flags);
      writeFileSync(record, recorded);
      const { blobs, blobBytes, delta: found } = await json<Inspected>('inspect', delta);
      assert.deepEqual([preview.blobs, preview.bytes], [blobs, blobBytes]);
      assert.deepEqual(preview.leftOut, { blobs: found?.blobs, bytes: found?.bytes });
      assert.ok(preview.leftOut.blobs > 0);
      assert.equal(preview.blobs + preview.leftOut.blobs, full.blobs);
      assert.equal(preview.bytes + preview.leftOut.bytes, full.bytes);
      assert.equal(
        preview.images.reduce((sum, { newBytes }) => sum + newBytes, 0),
        preview.bytes,
      );
      assert.equal(preview.requests[0]?.blobs, (full.requests[0]?.blobs ?? 0) - preview.leftOut.blobs);
      const { stdout } = await airlift(['export', ...year.names(secondMonth), '--dry-run', ...flags]);
      assert.match(
        stdout,
        new RegExp(`\na delta: ${preview.leftOut.blobs} layers \\(.*\\) left out, which the base has\n`),
      );
    }
    const forced = await airlift(
      ['export', ...year.names(secondMonth), '--dry-run', '--sent', record, '--force'],
      {
        codes: [2],
      },
    );
    assert.match(forced.stderr, /got --sent and --force/);
  });

  test('inspect names a delta: what it leaves out, what it was made against, what to do', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', receipt, '--base', old);
    const { stdout } = await airlift(['inspect', delta]);
    assert.match(stdout, /\na delta: it leaves out \d+ layers \(.*\), which the site must have\n/);
    await run('tar', ['xf', old, '-C', year.dir, 'airlift/SHA256SUMS']);
    const [sums = ''] = (await run('sha256sum', [join(year.dir, 'airlift/SHA256SUMS')])).stdout.split(' ');
    assert.ok(
      stdout.includes(
        `\n  made against a bundle of 2023-11-14T22:13:20Z (SHA256SUMS digest sha256:${sums})\n`,
      ),
      stdout,
    );
    assert.match(stdout, /\n {2}made against a receipt of 127\.0\.0\.1:\d+ of 20\d\d-[-\dT:]+Z\n/);
    assert.ok(stdout.includes(`\nnext: airlift verify ${delta} --base OLD.tar`));
    assert.ok(stdout.includes(`\n  airlift import ${delta} --to HOST[:PORT] looks for each left-out layer`));
    const found = await json<Inspected>('inspect', delta);
    assert.deepEqual(
      found.delta?.bases.map(({ kind, registry }) => [kind, registry]),
      [
        ['bundle', undefined],
        ['receipt', year.site.host],
      ],
    );
    const catalog = join(year.dir, 'airlift/catalog.db');
    await run('tar', ['xf', delta, '-C', year.dir, 'airlift/catalog.db']);
    const sql = "SELECT count(*), sum(size) FROM blobs WHERE left_out = 'base'";
    assert.equal(
      (await run('sqlite3', [catalog, sql])).stdout.trim(),
      `${found.delta?.blobs}|${found.delta?.bytes}`,
    );
    const schema = "SELECT sql || ';' FROM sqlite_schema WHERE name IN ('bases', 'places') ORDER BY rowid";
    const document = readFileSync(new URL('../../../docs/bundle-format.md', import.meta.url), 'utf8');
    const described = /```text\n(CREATE TABLE bases .*?)```/s.exec(document)?.[1]?.replaceAll('\n\n', '\n');
    assert.equal(
      (await run('sqlite3', [catalog, schema])).stdout,
      described,
      'the format that the page describes',
    );
    assert.equal((await json<Inspected>('inspect', old)).delta, undefined);
    assert.ok(!(await airlift(['inspect', old])).stdout.includes('delta'));
  });

  test('bases of all kinds add up: a receipt, an earlier bundle and a catalog alone', async (t) => {
    const year = await startYear(t);
    const parts = [0, 1, 2, 3].map((number) =>
      multiPlatform({ name: `part ${number}`, platforms: ['linux/amd64'], bigBytes: 20_000 + number }),
    );
    const named = Object.fromEntries(parts.map((image, number) => [`acme/part-${number}:1`, image]));
    for (const [number, image] of parts.entries())
      await pushImage(year.source.host, `acme/part-${number}`, '1', image);
    const [a, b, c] = [0, 1, 2].map((number) => {
      const name = `acme/part-${number}:1`;
      return year.export({ [name]: named[name] ?? assert.fail() }, `part-${number}.tar`);
    });
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', await a, '--to', year.site.host, '--receipt', receipt]);
    const catalog = join(year.dir, 'part-2.catalog');
    writeFileSync(catalog, (await run('tar', ['xOf', await c, 'airlift/catalog.db'])).bytes);
    const bases = ['--base', receipt, '--base', await b, '--base', catalog];
    const delta = await year.export(named, 'delta.tar', ...bases);
    const { delta: found } = await json<Inspected>('inspect', delta);
    assert.deepEqual(
      found?.bases.map(({ kind }) => kind),
      ['bundle', 'bundle', 'receipt'],
    );
    // Of the last image, only the layer that all share is left out.
    assert.equal(found.blobs, 1 + 3 * 2);
    const { stdout } = await airlift([
      'verify',
      delta,
      '--base',
      await a,
      '--base',
      await b,
      '--base',
      await c,
    ]);
    assert.match(stdout, /a delta: the base has the 7 layers/);
    for (const bundle of [await b, await c]) await airlift(['import', bundle, '--to', year.site.host]);
    await airlift(['import', delta, '--to', year.site.host]);
    await airlift(['verify', delta, '--against', year.site.host]);
  });

  test('diff reads volumes in several directories', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    await year.push(secondMonth);
    const next = await year.export(secondMonth, 'next.tar');
    const [first, second] = [join(year.dir, 'first'), join(year.dir, 'second')];
    for (const to of [first, second]) mkdirSync(to);
    for (const bundle of [old, next])
      await airlift(['split', bundle, '--volume-size', '64K', '-o', `${first}/`]);
    for (const name of readdirSync(first).filter((one) => one.endsWith('.002')))
      renameSync(join(first, name), join(second, name));
    const want = await json<object>('diff', old, next);
    const { stderr } = await airlift(['diff', join(first, 'old.tar.volumes'), next], { codes: [1, 4] });
    assert.match(stderr, /old\.tar\.002/);
    const sides = ['old.tar', 'next.tar.001'].map((name) => join(first, name));
    const got = await json<{ from: object; to: object }>('diff', ...sides, '--volume-dir', second);
    const plain = want as typeof got;
    assert.deepEqual(
      { ...got, from: { ...got.from, path: old }, to: { ...got.to, path: next } },
      { ...plain },
    );
    assert.ok(!existsSync(join(first, 'old.tar')) && statSync(old).isFile());
  });
});

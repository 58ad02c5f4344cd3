import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { reportOn } from '../../src/report/report.js';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { bigLayer, type TestImage } from '../support/images.js';
import { needs } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { firstMonth, secondMonth, startYear } from '../support/year.js';
import { product } from './cargo.js';

const named = (name: string, image: TestImage): Cargo => ({
  reference: `registry.example/acme/${name}`,
  image,
});
const base = [bigLayer(50_000, 'base')];
const [api, oldWeb, newWeb, gone, fresh] = ['api', 'web 1', 'web 2', 'gone', 'fresh'].map((name) =>
  product({ name, base }),
) as [TestImage, TestImage, TestImage, TestImage, TestImage];

test('report --base lists images added, moved and removed, and adds up the blobs that are new', async (t) => {
  const dir = temp(t);
  const [old, path] = [join(dir, 'may.tar'), join(dir, 'june.tar')];
  await writeBundle(old, [named('api:1', api), named('web:1', oldWeb), named('gone:1', gone)]);
  await writeBundle(path, [named('api:1', api), named('web:1', newWeb), named('fresh:1', fresh)]);
  const { since, images } = await reportOn(path, { base: [old] });
  assert.deepEqual(
    images.map(({ reference, change }) => [basename(reference), change]),
    [
      ['api:1', 'unchanged'],
      ['fresh:1', 'added'],
      ['web:1', 'moved'],
    ],
  );
  const want = await newBytes(path, old);
  assert.deepEqual(since?.newBlobs, want);
  assert.equal(since.changes.find(({ change }) => change === 'removed')?.from, gone.root.digest);
  // The base that they share is not new.
  assert.ok(images.every(({ newBytes = 0 }) => newBytes < 50_000));
  const outputOf = async (format: string): Promise<string> =>
    (await airlift(['report', path, '--no-verify', '--base', old, '--format', format, '-o', '-'])).stdout;
  const rows = (await outputOf('csv')).trim().split('\r\n');
  assert.equal(rows.filter((row) => /,moved,\d+$/.test(row)).length, 2);
  assert.ok(rows.some((row) => row.startsWith(`registry.example/acme/gone:1,${gone.root.digest},`)));
  const columns = new Set(rows.map((row) => row.split(',').length));
  assert.equal(columns.size, 1);
  const document = await outputOf('cyclonedx');
  assert.ok(document.includes('{"name":"airlift:removed","value":"registry.example/acme/gone:1"}'));
  assert.ok(document.includes(`{"name":"airlift:new-bytes","value":"${want.bytes}"}`));
  assert.match(await outputOf('html'), /<strong>moved<\/strong>/);
});

/** Adds up the blobs that another bundle lacks. */
async function newBytes(path: string, old: string): Promise<{ blobs: number; bytes: number }> {
  const [now, before] = [await BundleReader.open(path), await BundleReader.open(old)];
  const isNew = [...now.catalog.blobs()].filter(({ digest }) => before.catalog.blob(digest) === undefined);
  await now.close();
  await before.close();
  return { blobs: isNew.length, bytes: isNew.reduce((sum, { size }) => sum + size, 0) };
}

test('report with several bases takes them together, the latest digest of a tag first', async (t) => {
  const dir = temp(t);
  const [may, june, july] = [join(dir, 'may.tar'), join(dir, 'june.receipt'), join(dir, 'july.tar')];
  await writeBundle(may, [named('web:1', oldWeb), named('gone:1', gone)]);
  // Later than the bundle, whose time is that of the epoch of tests.
  const head = [
    'airlift receipt 1',
    'registry: site.example',
    'time: 2030-01-01T00:00:00Z',
    'airlift: 0.1.0',
    '',
  ];
  writeFileSync(june, [...head, `acme/web:1 ${newWeb.root.digest} index`, ''].join('\n'));
  await writeBundle(july, [named('web:1', newWeb), named('fresh:1', fresh)]);
  for (const order of [
    [may, june],
    [june, may],
  ]) {
    const { since } = await reportOn(july, { base: order });
    assert.deepEqual(
      since?.from.map(({ path }) => path),
      [may, june],
    );
    assert.deepEqual(
      since.changes.map(({ change, image }) => [change, image]),
      [
        ['added', 'acme/fresh:1'],
        ['removed', 'acme/gone:1'],
      ],
    );
  }
});

describe('a delta', { skip: needs('docker-registry') }, () => {
  test('report on a delta names what it leaves out, and which base has it', async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'may.tar');
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', old);
    const alone = await reportOn(delta);
    assert.ok((alone.delta?.blobs ?? 0) > 0);
    assert.equal(alone.delta?.leftOut.length, alone.delta?.blobs);
    const { delta: found } = await reportOn(delta, { base: [old] });
    const reader = await BundleReader.open(old);
    for (const { digest, size, base, images } of found?.leftOut ?? []) {
      assert.equal(reader.catalog.blob(digest)?.size, size);
      assert.equal(base, old);
      assert.ok(images.length > 0);
    }
    await reader.close();
    const output = `${delta}.html`;
    await airlift(['report', delta, '-o', output]);
    const html = readFileSync(output, 'utf8');
    assert.match(html, /What this delta leaves out/);
    assert.match(html, /What the delta leaves out \(\d+ blobs\) could not be verified/);
    for (const { digest } of found?.leftOut ?? []) assert.ok(html.includes(digest));
    await airlift(['report', delta, '--base', old, '-o', output]);
    const together = readFileSync(output, 'utf8');
    assert.match(together, /The given bases have all of them/);
    assert.doesNotMatch(together, /could not be verified/);
  });
});

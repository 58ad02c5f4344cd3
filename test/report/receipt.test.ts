import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { reportOnReceipt } from '../../src/report/receipt-report.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { temp } from '../support/temp.js';
import { product } from './cargo.js';

const digest = (character: string): string => `sha256:${character.repeat(64)}`;

function receipt(lines: readonly string[], kind = 'receipt'): string {
  const registry = kind === 'receipt' ? ['registry: site.example:5000'] : [];
  return [
    `airlift ${kind} 1`,
    ...registry,
    'time: 2026-03-04T05:06:07Z',
    'airlift: 0.1.0',
    '',
    ...lines,
    '',
  ].join('\n');
}

const may = receipt([`acme/api:1 ${digest('a')} index`, `acme/web:1 ${digest('b')} linux/amd64`]);
const june = receipt([
  `acme/api:1 ${digest('c')} index`,
  `acme/api@${digest('d')} linux/arm64`,
  `acme/new:1 ${digest('e')} linux/amd64`,
  `acme/new:sha256-${'e'.repeat(64)}.sig ${digest('f')} manifest`,
]);

function files(t: Parameters<typeof temp>[0]): { readonly old: string; readonly path: string } {
  const dir = temp(t);
  const [old, path] = [join(dir, 'may.receipt'), join(dir, 'june.receipt')];
  writeFileSync(old, may);
  writeFileSync(path, june);
  return { old, path };
}

test('report on a receipt lists repositories, tags and digests, and says what a receipt cannot say', async (t) => {
  const { path } = files(t);
  const page = `${path}.html`;
  await airlift(['report', path, '-o', page]);
  const html = readFileSync(page, 'utf8');
  for (const text of [
    'site.example:5000',
    '2026-03-04T05:06:07Z',
    'airlift 0.1.0',
    digest('d'),
    'linux/arm64',
    'acme/new',
  ])
    assert.ok(html.includes(text), text);
  assert.match(html, /2 repositories/);
  assert.match(html, /What this list does not say/);
  assert.match(html, /this report asked no registry/);
  assert.match(html, /does not prove who made it/);
  const { stdout } = await airlift(['report', path, '--format', 'csv', '-o', '-']);
  assert.equal(stdout.split('\r\n')[1], `site.example:5000/acme/api,1,index,${digest('c')}`);
});

test('report on a receipt with an earlier receipt says what is new, in every format', async (t) => {
  const { old, path } = files(t);
  const found = await reportOnReceipt(path, { base: [old] });
  assert.deepEqual(
    found.since?.changes.map(({ change, image }) => [change, image]),
    [
      ['moved', 'acme/api:1'],
      ['added', 'acme/new:1'],
      ['removed', 'acme/web:1'],
    ],
  );
  assert.equal(found.since.companions, 1);
  assert.deepEqual([found.images, found.companions, found.repositories], [2, 1, 2]);
  const outputOf = async (format: string): Promise<string> =>
    (await airlift(['report', path, '--base', old, '--format', format, '-o', '-'])).stdout;
  const csv = (await outputOf('csv')).split('\r\n');
  assert.ok(csv.includes(`site.example:5000/acme/new,1,linux/amd64,${digest('e')},added`));
  assert.ok(csv.includes(`acme/web:1,,,${digest('b')},removed`));
  const json = JSON.parse(await outputOf('json')) as { entries: { tag?: string; change?: string }[] };
  assert.deepEqual(
    json.entries.map(({ tag, change }) => [tag?.slice(0, 6), change]),
    [
      ['1', 'moved'],
      [undefined, undefined],
      ['1', 'added'],
      ['sha256', undefined],
    ],
  );
  const document = JSON.parse(await outputOf('cyclonedx')) as {
    metadata: { component: { properties: { name: string; value: string }[] } };
    components: { 'bom-ref': string; hashes: { content: string }[] }[];
  };
  assert.deepEqual(document.metadata.component.properties.slice(1), [
    { name: 'airlift:base', value: 'may.receipt' },
    { name: 'airlift:removed', value: 'acme/web:1' },
  ]);
  assert.equal(document.components.length, 4);
  assert.equal(document.components[0]?.hashes[0]?.content, 'c'.repeat(64));
  assert.match(await outputOf('html'), /What is new since may\.receipt/);
});

test('report on a bundle finds what is new since a receipt of the site, under the names that import gives', async (t) => {
  const { path: base } = files(t);
  const bundle = join(temp(t), 'site.tar');
  const image = product({ name: 'new' });
  await writeBundle(bundle, [{ reference: 'registry.example/acme/new:1', image }]);
  const flags = ['report', bundle, '--no-verify', '--base', base, '--format', 'json', '-o', '-'];
  const changeAfter = async (more: readonly string[]): Promise<string | undefined> =>
    (JSON.parse((await airlift([...flags, ...more])).stdout) as { images: { change?: string }[] }).images[0]
      ?.change;
  assert.equal(await changeAfter([]), 'moved');
  assert.equal(await changeAfter(['--keep-registry']), 'added');
});

test('report on a receipt checks its signature, and refuses flags of bundles', async (t) => {
  const { path } = files(t);
  const dir = temp(t);
  const env = { AIRLIFT_KEY_PASSWORD_FILE: join(dir, 'password') };
  writeFileSync(env.AIRLIFT_KEY_PASSWORD_FILE, 'secret', { mode: 0o600 });
  const key = join(dir, 'site.key');
  await airlift(['keygen', '--type', 'ecdsa-p256', '-o', key], { env });
  const flags = ['report', path, '--key', join(dir, 'site.pub'), '--format', 'json', '-o', '-'];
  const unsigned = await airlift(flags, { codes: [4] });
  assert.equal(unsigned.code, 4);
  assert.match(unsigned.stderr, /no valid signature by/);
  await airlift(['sign', path, '--key', key], { env });
  const { stdout } = await airlift(flags);
  const { signedBy } = JSON.parse(stdout) as { signedBy: { state: string }[] };
  assert.deepEqual(
    signedBy.map(({ state }) => state),
    ['valid'],
  );
  writeFileSync(path, june.replace('linux/arm64', 'linux/amd64'));
  assert.equal((await airlift(flags, { codes: [4] })).code, 4);
  const wrong = await airlift(['report', path, '--cosign-key', 'x.pub', '-o', '-'], { codes: [2] });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--cosign-key applies only to bundles/);
});

test('report on a receipt with a malformed line is an error that names the line', async (t) => {
  const { path } = files(t);
  writeFileSync(path, june.replace('linux/arm64', '<b>\u001b[31m'));
  const { stderr } = await airlift(['report', path, '-o', `${path}.html`], { codes: [1] });
  assert.match(stderr, /line 7 is malformed/);
  assert.doesNotMatch(stderr, new RegExp(String.fromCharCode(27)));
});

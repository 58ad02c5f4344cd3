import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { reportOn, type Report, type ReportedImage } from '../../src/report/report.js';
import { everyKind, writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { artifactOf } from '../support/artifacts.js';
import { makeAuthority } from '../support/certificates.js';
import { bigLayer, plainBlob, type TestImage } from '../support/images.js';
import { inMemory } from '../support/content.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { cycloneDxOf, product, signatureOf } from './cargo.js';

function bytesOf(image: TestImage, except: readonly string[] = []): number {
  const all = [...image.manifests.values(), ...image.blobs.values()];
  return all.reduce((sum, { digest, size }) => sum + (except.includes(digest) ? 0 : size), 0);
}

function imageOf({ images }: Report, name: string): ReportedImage {
  const found = images.find(({ reference }) => reference === `registry.example/acme/${name}:1`);
  assert.ok(found !== undefined, name);
  return found;
}

const base = bigLayer(30_000, 'base');
const web = product({ name: 'web', version: '2.5', base: [base], packages: ['openssl@3.0.1', 'zlib@1.3'] });
const api = product({ name: 'api', base: [base], packages: ['openssl@3.0.1'], platforms: ['linux/amd64'] });
const component = {
  type: 'library',
  group: 'org.apache',
  name: 'log4j',
  version: '2.17.1',
  licenses: [{ license: { id: 'Apache-2.0' } }],
};
const cargo: readonly Cargo[] = [
  { reference: 'registry.example/acme/web:1', image: web },
  { reference: 'registry.example/acme/api:1', image: api },
  {
    reference: undefined,
    image: cycloneDxOf(api, [
      { ...component, components: [{ type: 'library', name: 'inner', version: '1' }] },
    ]),
  },
];

test('a report lists platforms, labels, shared bytes and the packages of SBOMs in attestations and referrers', async (t) => {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  const report = await reportOn(path);
  assert.deepEqual(report.notes, []);
  const found = imageOf(report, 'web');
  assert.equal(found.digest, web.root.digest);
  assert.equal(found.size, bytesOf(web));
  assert.equal(found.ownBytes, bytesOf(web, [base.descriptor.digest, ...common(web, api)]));
  assert.deepEqual(
    found.platforms.map(({ platform, created, labels }) => [
      platform,
      created,
      labels['org.opencontainers.image.version'],
    ]),
    [
      ['linux/amd64', '2026-03-04T05:06:07Z', '2.5'],
      ['linux/arm64', '2026-03-04T05:06:07Z', '2.5'],
    ],
  );
  assert.deepEqual(
    found.attached.map(({ kind, type, subject }) => [kind, type, subject]).sort(),
    found.platforms.map(({ digest }) => ['sbom', 'https://spdx.dev/Document', digest]).sort(),
  );
  assert.equal(
    report.shared.reduce((sum, { bytes }) => sum + bytes, 0) +
      found.ownBytes +
      imageOf(report, 'api').ownBytes,
    report.blobBytes,
  );
  assert.deepEqual(
    report.packages.map(({ name, version, images, licenses, references }) => [
      name,
      version,
      images,
      licenses,
      references.length,
    ]),
    [
      ['inner', '1', 1, '', 1],
      ['openssl', '3.0.1', 2, 'MIT', 2],
      ['org.apache/log4j', '2.17.1', 1, 'Apache-2.0', 1],
      ['zlib', '1.3', 1, 'MIT', 1],
    ],
  );
});

function common(one: TestImage, other: TestImage): string[] {
  return [...one.blobs.keys()].filter((digest) => other.blobs.has(digest));
}

test(
  'a report names the certificate of a signature and does not count the signature as an image',
  { skip: needs('openssl') },
  async (t) => {
    const dir = temp(t);
    const { cert } = await makeAuthority(dir, 'signer');
    const path = join(dir, 'site.tar');
    const tag = web.root.digest.replace(':', '-');
    const image = signatureOf(web, readFileSync(cert, 'utf8'));
    await writeBundle(path, [
      ...cargo,
      { reference: `registry.example/acme/web:${tag}.sig`, image, companionOf: web.root.digest },
    ]);
    const report = await reportOn(path);
    assert.equal(report.images.length, 2);
    const [signature] = imageOf(report, 'web').attached.filter(({ kind }) => kind === 'signature');
    assert.equal(signature?.subject, web.root.digest);
    assert.match(signature.statedSigner ?? '', /airlift test signer/);
  },
);

test('a report covers images of every kind', async (t) => {
  const path = join(temp(t), 'site.tar');
  const every = everyKind();
  await writeBundle(path, every);
  const report = await reportOn(path);
  const want = every.filter(
    ({ reference, companionOf }) => reference !== undefined && companionOf === undefined,
  );
  assert.deepEqual(
    report.images.map(({ reference }) => reference),
    want.map(({ reference }) => reference).sort(),
  );
  assert.deepEqual(report.notes, []);
});

test('a report on a damaged bundle says what is damaged, and ends with exit code 4', async (t) => {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  const reader = await BundleReader.open(path);
  const at = (reader.position(api.root.digest) ?? 0) + 10;
  await reader.close();
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const output = `${path}.json`;
  const { stderr } = await airlift(['report', path, '-o', output, '--format', 'json'], { codes: [4] });
  assert.match(stderr, /is damaged/);
  const report = JSON.parse(readFileSync(output, 'utf8')) as Report & { verified: { ok: boolean } };
  assert.equal(report.verified.ok, false);
  assert.match(report.notes.join(), new RegExp(`${api.root.digest}.*digest mismatch`));
  assert.equal(imageOf(report, 'web').platforms.length, 2);
});

test('malformed and hostile SBOMs become notes', async (t) => {
  const path = join(temp(t), 'site.tar');
  const type = 'application/spdx+json';
  const texts = [
    'not JSON',
    '[]',
    '{"packages":7}',
    `{"packages":${'['.repeat(100)}${']'.repeat(100)}}`,
    `{"packages":[${'{},'.repeat(10)}{"name":7}]}`,
  ];
  const sboms = texts.map((text) => ({
    reference: undefined,
    image: artifactOf({ artifactType: type, blobs: [plainBlob(text, type)], subject: api.root }),
  }));
  await writeBundle(path, [...cargo, ...sboms]);
  const { notes, packages } = await reportOn(path);
  assert.equal(packages.length, 4);
  assert.equal(notes.length, 2);
  assert.match(notes.join('\n'), /not JSON/);
  assert.match(notes.join('\n'), /nested too deep/);
});

test('sqlite3 reads the CSV, and no cell is a formula', { skip: needs('sqlite3') }, async (t) => {
  const dir = temp(t);
  const path = join(dir, 'site.tar');
  const evil = product({
    name: 'evil',
    version: '=HYPERLINK("http://x")',
    labels: { 'org.opencontainers.image.source': 'a,"b"\n\u202ec' },
    platforms: ['linux/amd64'],
  });
  await writeBundle(path, [...cargo, { reference: 'registry.example/acme/evil:1', image: evil }]);
  const output = join(dir, 'report.csv');
  await airlift(['report', path, '-o', output, '--format', 'csv']);
  const query = `SELECT platform, size, version, source, sboms FROM report ORDER BY image, platform`;
  const { stdout } = await run('sqlite3', [
    ':memory:',
    '-cmd',
    '.mode csv',
    '-cmd',
    `.import ${output} report`,
    '-cmd',
    '.mode json',
    query,
  ]);
  const rows = JSON.parse(stdout) as Record<string, string>[];
  assert.deepEqual(
    rows.map((row) => [row['platform'], row['sboms']]),
    [
      ['linux/amd64', '2'],
      ['linux/amd64', '0'],
      ['linux/amd64', '2'],
      ['linux/arm64', '2'],
    ],
  );
  assert.equal(rows[1]?.['version'], `'=HYPERLINK("http://x")`);
  assert.equal(rows[1]['source'], String.raw`a,"b"\n\u202ec`);
});

test('the CycloneDX document is the same for the same bundle and lists images, platforms and packages', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'site.tar');
  await writeBundle(path, cargo);
  const outputs = [join(dir, 'one.json'), join(dir, 'two.json')];
  for (const output of outputs)
    await airlift(['report', path, '-o', output, '--format', 'cyclonedx', '--no-verify']);
  const [text = '', again] = outputs.map((output) => readFileSync(output, 'utf8'));
  assert.equal(again, text);
  type Component = { 'bom-ref': string; type: string; purl?: string; components?: Component[] };
  const { components, ...head } = JSON.parse(text) as {
    bomFormat: string;
    specVersion: string;
    serialNumber: string;
    components: Component[];
  };
  assert.equal(`${head.bomFormat} ${head.specVersion}`, 'CycloneDX 1.6');
  assert.match(
    head.serialNumber,
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  const all = components.flatMap((one) => [one, ...(one.components ?? [])]);
  assert.equal(new Set(all.map((one) => one['bom-ref'])).size, all.length);
  assert.deepEqual(
    all.map(({ type }) => type),
    ['container', 'container', 'container', 'container', 'container', ...Array<string>(4).fill('library')],
  );
  assert.equal(
    all[0]?.purl,
    `pkg:oci/api@${encodeURIComponent(api.root.digest)}?repository_url=registry.example%2Facme%2Fapi&tag=1`,
  );
});

test('a report is read from standard input and written to standard output with -', async (t) => {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  const { stdout } = await airlift(['report', path, '-o', '-', '--format', 'csv']);
  const piped = await airlift(['report', '-', '-o', '-', '--format', 'csv'], { input: readFileSync(path) });
  assert.equal(stdout.split('\r\n').length, 5);
  assert.equal(piped.stdout, stdout);
});

test('a report on volumes names each with its digest, also from several directories', async (t) => {
  const [dir, other] = [temp(t), temp(t)];
  const path = join(dir, 'site.tar');
  await writeBundle(path, cargo);
  const size = Math.ceil(readFileSync(path).length / 2 / 512) * 512;
  const list = join(dir, 'out.tar');
  await airlift(['split', path, '--volume-size', String(size), '-o', list]);
  renameSync(`${list}.002`, join(other, 'out.tar.002'));
  const { volumes, images } = await reportOn(`${list}.volumes`, { volumeDirs: [other] });
  assert.equal(images.length, 2);
  assert.deepEqual(
    volumes.map(({ name, digest }) => [name, digest]),
    [`${list}.001`, join(other, 'out.tar.002')].map((file) => [
      file.slice(file.lastIndexOf('/') + 1),
      inMemory(readFileSync(file)).digest,
    ]),
  );
  const output = join(dir, 'page.html');
  await airlift(['report', `${list}.volumes`, '--volume-dir', other, '-o', output]);
  assert.match(readFileSync(output, 'utf8'), /2 files, which together are this bundle/);
});

import assert from 'node:assert/strict';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { openCatalogDatabase } from '../../src/bundle/format/catalog-open.js';
import { BundleFile } from '../../src/bundle/format/file.js';
import { looksLikeBundle } from '../../src/bundle/format/head.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';
import type { Digest } from '../../src/oci/digest.js';
import { parseReference } from '../../src/oci/reference.js';
import { bytesOf } from '../support/content.js';
import { imageOf, layer } from '../support/images.js';
import { temp } from '../support/temp.js';
import { tamper, tamperBySql } from './verify/tamper.js';
import { contentsOf, everyKind, writeBundle } from './write-bundle.js';

const cargo = everyKind();
const repository = { registry: 'registry.example', repository: 'any' };

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function refusal(code: ErrorCode, message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(isAirliftError(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

describe('a bundle reader', () => {
  const dir = temp({ after });
  const path = join(dir, 'a.tar');
  let reader: BundleReader;
  before(async () => {
    await writeBundle(path, cargo);
    reader = await BundleReader.open(path);
  });
  after(() => reader?.close());

  test('lists every image with its root and its platforms', async () => {
    const want = cargo.flatMap(({ reference, image, companionOf }) =>
      reference === undefined ? [] : [{ reference, digest: image.root.digest, companionOf }],
    );
    const got = [...reader.images()].map(({ reference, root, companionOf }) => ({
      reference,
      root,
      companionOf,
    }));
    assert.deepEqual(
      got.map(({ reference, root, companionOf }) => [reference, root.digest, companionOf]),
      want
        .sort((a, b) => (a.reference < b.reference ? -1 : 1))
        .map(({ reference, digest, companionOf }) => [parseReference(reference), digest, companionOf]),
    );
    for (const { reference, image } of cargo) {
      if (reference === undefined) continue;
      const { digest, size, mediaType } = await reader.resolve(parseReference(reference));
      assert.deepEqual({ digest, size, mediaType }, image.root);
    }
    assert.equal(reader.created.toISOString(), '2024-05-06T07:08:09.000Z');
    assert.equal(reader.counts().images, want.length);
    assert.equal(reader.counts().blobs, contentsOf(cargo).size);
  });

  test('streams a blob from any offset', async () => {
    for (const [digest, content] of contentsOf(cargo)) {
      const bytes = bytesOf(content);
      const descriptor = { digest, size: content.size, mediaType: 'any/type' };
      assert.ok((await collect(await reader.fetch(repository, descriptor))).equals(bytes), digest);
      for (const offset of [1, content.size - 1, content.size, content.size + 10]) {
        if (offset < 0) continue;
        const rest = await collect(await reader.fetch(repository, descriptor, { offset }));
        assert.ok(rest.equals(bytes.subarray(offset)), `${digest} from ${offset}`);
      }
    }
  });

  test('resolves a digest that no reference names', async () => {
    const [digest] = [...(cargo[0]?.image.manifests.keys() ?? [])];
    assert.ok(digest !== undefined);
    const { digest: found } = await reader.resolve({ ...repository, digest });
    assert.equal(found, digest);
  });

  test('lists the referrers of a digest with annotations and artifact types', async () => {
    const sbom = cargo.find(({ reference }) => reference === undefined) ?? assert.fail();
    const found = [];
    const subject =
      cargo.find(({ reference }) => reference?.includes('acme/signed:1') === true) ?? assert.fail();
    for await (const descriptor of reader.referrers(repository, subject.image.root.digest))
      found.push(descriptor);
    assert.deepEqual(
      found.map(({ digest, artifactType, annotations }) => ({ digest, artifactType, annotations })),
      [
        {
          digest: sbom.image.root.digest,
          artifactType: 'application/spdx+json',
          annotations: { 'org.opencontainers.image.created': '2024-01-02T03:04:05Z' },
        },
      ],
    );
  });

  test('reports content that the bundle does not have', async () => {
    const unknown = `sha256:${'0'.repeat(64)}` as Digest;
    await assert.rejects(
      reader.resolve(parseReference('registry.example/none:1')),
      refusal('not-found', /none:1: not in/),
    );
    await assert.rejects(reader.resolve({ ...repository, digest: unknown }), refusal('not-found', /not in/));
    await assert.rejects(
      reader.fetch(repository, { digest: unknown, size: 1, mediaType: 'any/type' }),
      refusal('not-found', new RegExp(`${unknown}: not in`)),
    );
    await assert.rejects(reader.read(unknown), refusal('not-found', /not in/));
  });

  test('serves many streams at once, some of them abandoned', async () => {
    const contents = [...contentsOf(cargo)];
    await Promise.all(
      contents.map(async ([digest, content], at) => {
        const stream = await reader.fetch(repository, { digest, size: content.size, mediaType: 'any/type' });
        if (at % 3 === 0) {
          stream.destroy();
          return;
        }
        assert.ok((await collect(stream)).equals(bytesOf(content)));
      }),
    );
    assert.equal(reader.counts().blobs, contents.length);
  });

  test('opens a large catalog from a temporary file', async () => {
    const before_ = readdirSync(tmpdir()).filter((name) => /^airlift-(?!test)/.test(name));
    const entry = reader.head.entries.get('airlift/catalog.db') ?? assert.fail();
    const database = await openCatalogDatabase(reader.file, entry, 1000);
    const count = database.prepare('SELECT count(*) FROM blobs').pluck().get();
    assert.equal(count, contentsOf(cargo).size);
    assert.throws(() => database.exec('DELETE FROM images'), /readonly|read-only/);
    const left = readdirSync(tmpdir()).filter((name) => /^airlift-(?!test)/.test(name));
    assert.deepEqual(
      left.filter((name) => !before_.includes(name)),
      [],
    );
    database.close();
  });

  test('blames TMPDIR, not the bundle, if it cannot create a temporary file', async () => {
    const entry = reader.head.entries.get('airlift/catalog.db') ?? assert.fail();
    const { TMPDIR } = process.env;
    process.env['TMPDIR'] = join(dir, 'none');
    try {
      await assert.rejects(
        openCatalogDatabase(reader.file, entry, 1000),
        (error) => isAirliftError(error, 'io') && error.hint?.includes('TMPDIR') === true,
      );
    } finally {
      if (TMPDIR === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = TMPDIR;
    }
  });

  test('rejects a manifest whose bytes do not match its digest', async () => {
    const copy = join(dir, 'flipped.tar');
    copyFileSync(path, copy);
    const { digest } = cargo[0]?.image.root ?? assert.fail();
    const at = (reader.position(digest) ?? 0) + 3;
    const bytes = readFileSync(copy);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(copy, bytes);
    const other = await BundleReader.open(copy);
    await assert.rejects(other.read(digest), refusal('digest-mismatch', new RegExp(`want ${digest}`)));
    await other.close();
  });

  test('tells bundles from other files', async () => {
    const answers: Record<string, boolean> = {};
    writeFileSync(join(dir, 'text'), 'no tar');
    writeFileSync(join(dir, 'empty'), '');
    for (const name of ['a.tar', 'text', 'empty']) {
      const file = await BundleFile.open(join(dir, name), 'r');
      answers[name] = await looksLikeBundle(file);
      await file.close();
    }
    assert.deepEqual(answers, { 'a.tar': true, text: false, empty: false });
  });

  const hostile: Record<string, [sql: string, message: RegExp]> = {
    'another application': ['PRAGMA application_id = 7', /application id 7/],
    'a trigger': ['CREATE TRIGGER t AFTER INSERT ON images BEGIN SELECT 1; END', /schema differs/],
    'a view that says something else': [
      "UPDATE sqlite_schema SET sql = replace(sql, 'blobs/', 'other/') WHERE name = 'entries'",
      /schema differs/,
    ],
    'a view less': ["DELETE FROM sqlite_schema WHERE name = 'entries'", /schema differs/],
    'a digest that is none': [
      "UPDATE blobs SET digest = 'sha256:../../etc/passwd' WHERE id = 3",
      /blob 3 is malformed/,
    ],
    'a digest that is no text': ['UPDATE blobs SET digest = 7 WHERE id = 3', /blob 3 is malformed/],
    'a size below zero': ['UPDATE blobs SET size = -1 WHERE id = 3', /malformed|CHECK/],
    'a size that is text': ["UPDATE blobs SET size = 'much' WHERE id = 3", /wrong type|malformed/],
    'a size beyond all files': [
      'UPDATE blobs SET size = 9007199254740000 WHERE id = 90',
      /out of place|beyond|truncated/,
    ],
    'an offset elsewhere': [
      'UPDATE blobs SET content_offset = content_offset + 512 WHERE id = 3',
      /out of place/,
    ],
    'an offset below zero': ['UPDATE blobs SET content_offset = -512 WHERE id = 1', /out of place/],
    'a kind that is none': ["UPDATE blobs SET kind = 'other' WHERE id = 3", /unknown kind|CHECK/],
    'a manifest of a kind of layer': ["UPDATE blobs SET kind = 'layer' WHERE kind = 'manifest'", /manifest/],
    'an edge to nothing': ["UPDATE edges SET child = 99999 WHERE role = 'config'", /edge/],
    'an image without root': ['UPDATE images SET root = 99999', /no root/],
    'a reference that is none': [
      "UPDATE images SET reference = '../../etc' WHERE id = 1",
      /not a full reference/,
    ],
    'a reference that is short': [
      "UPDATE images SET reference = 'redis' WHERE id = 1",
      /not a full reference/,
    ],
    'a media type that is a number': ["UPDATE manifests SET media_type = x'00'", /wrong type/],
    'features that are no JSON': [
      "UPDATE manifests SET os_features = '[' WHERE os IS NOT NULL",
      /malformed field/,
    ],
  };
  for (const [name, [sql, message]] of Object.entries(hostile)) {
    test(`rejects a catalog with ${name}`, async (t) => {
      const copy = join(temp(t), 'hostile.tar');
      copyFileSync(path, copy);
      await tamperBySql(copy, sql);
      await assert.rejects(BundleReader.open(copy), refusal('damaged', message));
    });
  }

  test('rejects a bundle of a newer airlift', async (t) => {
    const copy = join(temp(t), 'newer.tar');
    copyFileSync(path, copy);
    await tamperBySql(copy, 'PRAGMA user_version = 3');
    await assert.rejects(BundleReader.open(copy), (error) => {
      assert.ok(isAirliftError(error, 'unsupported'));
      assert.match(error.hint ?? '', /that wrote this bundle/);
      return true;
    });
  });

  test('rejects a catalog that is in WAL mode, not a database, or random', async (t) => {
    const changes: [(catalog: Buffer) => Buffer, RegExp][] = [
      [(catalog) => catalog.fill(2, 18, 20), /rollback-journal mode/],
      [(catalog) => catalog.fill(0x41), /not an SQLite database/],
      [(catalog) => catalog.fill(0xa5, 4096), /malformed|corrupt|btree|page|image/i],
    ];
    for (const [change, message] of changes) {
      const copy = join(temp(t), 'bad.tar');
      copyFileSync(path, copy);
      await tamper(copy, change);
      await assert.rejects(BundleReader.open(copy), refusal('damaged', message));
    }
  });

  test('rejects a catalog that is not the one in SHA256SUMS', async (t) => {
    const copy = join(temp(t), 'bad.tar');
    const bytes = readFileSync(path);
    const at = (reader.head.entries.get('airlift/catalog.db')?.contentPosition ?? 0) + 5000;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(copy, bytes);
    await assert.rejects(
      BundleReader.open(copy),
      refusal('damaged', /digest mismatch; got sha256:.*, want sha256:/),
    );
  });
});

test('a blob that is left out is reported as such', async (t) => {
  const path = join(temp(t), 'a.tar');
  const urls = ['https://layers.invalid/a.tar.gz'];
  const foreign = layer([{ name: 'foreign', content: 'foreign' }], { urls });
  const image = imageOf({ layers: [layer([{ name: 'own', content: 'own' }]), foreign] });
  await writeBundle(path, [{ reference: 'registry.example/foreign:1', image }]);
  const reader = await BundleReader.open(path);
  t.after(() => reader.close());
  const { digest, size } = foreign.descriptor;
  assert.deepEqual(
    { leftOut: reader.counts().leftOut, leftOutBytes: reader.counts().leftOutBytes },
    { leftOut: 1, leftOutBytes: size },
  );
  assert.deepEqual(
    [...reader.blobs()].filter(({ leftOut }) => leftOut !== undefined),
    [{ digest, size, kind: 'layer', offset: undefined, leftOut: 'foreign' }],
  );
  assert.equal(reader.position(digest), undefined);
  const descriptor = { digest, size, mediaType: 'any/type' };
  await assert.rejects(
    reader.fetch(repository, descriptor),
    refusal('not-found', /left out of .* \(foreign\)/),
  );
});

test('a fetch after an interruption is rejected without leaving a stream that fails later', async (t) => {
  const path = join(temp(t), 'bundle.tar');
  const image = imageOf({ platform: 'linux/amd64', layers: [layer([{ name: 'a', content: 'a' }])] });
  await writeBundle(path, [{ reference: 'registry.example/acme:1', image }]);
  const reader = await BundleReader.open(path);
  t.after(() => reader.close());
  const reference = parseReference('registry.example/acme:1');
  const root = await reader.resolve(reference);
  await assert.rejects(reader.fetch(reference, root, { signal: AbortSignal.abort() }), {
    code: 'interrupted',
  });
  // An unhandled error of a stream would fail the test now.
  await new Promise(setImmediate);
});

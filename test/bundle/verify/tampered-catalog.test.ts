import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../../../src/bundle/reader.js';
import { isAirliftError } from '../../../src/errors.js';
import { verify, type VerifyReport } from '../../../src/verify.js';
import { digestOf } from '../../../src/oci/digest.js';
import { smallCargo, writeDelta } from '../../fuzz/bundles.js';
import { surroundings } from '../../fuzz/catalogs.js';
import { entriesOf, withChangedCatalog } from '../../fuzz/mutations.js';
import { airlift } from '../../support/airlift.js';
import { temp } from '../../support/temp.js';
import { tamperBySql } from './tamper.js';
import { writeBundle } from '../write-bundle.js';

/** Changes that an attacker may make to a catalog, with a matching SHA256SUMS. Verify must find each of them. */
const changes: readonly (readonly [what: string, sql: string])[] = [
  ['a missing subject', 'UPDATE manifests SET subject = NULL WHERE subject IS NOT NULL'],
  [
    'another subject',
    `UPDATE manifests SET subject = (SELECT digest FROM blobs ORDER BY id LIMIT 1) WHERE subject IS NOT NULL`,
  ],
  [
    'a subject of a manifest without subject',
    `UPDATE manifests SET subject = (SELECT digest FROM blobs ORDER BY id LIMIT 1) WHERE blob = (SELECT max(blob) FROM manifests WHERE subject IS NULL)`,
  ],
  ['another architecture', "UPDATE manifests SET architecture = 's390x' WHERE architecture = 'arm64'"],
  ['another system', "UPDATE manifests SET os = 'zinux' WHERE os = 'linux'"],
  ['another variant', "UPDATE manifests SET variant = 'v9' WHERE variant = 'v7'"],
  ['a missing variant', 'UPDATE manifests SET variant = NULL WHERE variant IS NOT NULL'],
  ['a missing platform', 'UPDATE manifests SET os = NULL, architecture = NULL, variant = NULL'],
  ['a version of the system', "UPDATE manifests SET os_version = '1' WHERE os = 'linux'"],
  ['features of the system', `UPDATE manifests SET os_features = '["x"]' WHERE os = 'linux'`],
  ['a version of the system of an index', "UPDATE manifests SET os_version = '1' WHERE os IS NULL"],
  ['a variant of an index', "UPDATE manifests SET variant = 'v7' WHERE os IS NULL"],
  ['features of the system of an index', `UPDATE manifests SET os_features = '["x"]' WHERE os IS NULL`],
  ['another media type', "UPDATE manifests SET media_type = 'text/plain' WHERE blob = 1"],
  ['a missing artifact type', 'UPDATE manifests SET artifact_type = NULL WHERE artifact_type IS NOT NULL'],
  ['an artifact type of an image', "UPDATE manifests SET artifact_type = 'a/b' WHERE artifact_type IS NULL"],
  ['an artifact type of a root', "UPDATE images SET artifact_type = 'a/b'"],
  ['a media type of a root', "UPDATE images SET media_type = 'a/b'"],
  ['a layer that is a config', "UPDATE blobs SET kind = 'config' WHERE kind = 'layer'"],
  ['a config that is a layer', "UPDATE blobs SET kind = 'layer' WHERE kind = 'config'"],
  ['an index that is a manifest', "UPDATE blobs SET kind = 'manifest' WHERE kind = 'index'"],
  ['a companion without its subject', 'UPDATE images SET companion_of = NULL WHERE companion_of IS NOT NULL'],
  [
    'a companion of another image',
    `UPDATE images SET companion_of = (SELECT digest FROM blobs ORDER BY id LIMIT 1) WHERE companion_of IS NOT NULL`,
  ],
  [
    'an image that is a companion',
    `UPDATE images SET companion_of = (SELECT digest FROM blobs ORDER BY id LIMIT 1) WHERE companion_of IS NULL`,
  ],
  ['a missing original', 'UPDATE images SET original = NULL'],
  [
    'an original of another image',
    `UPDATE images SET original = (SELECT root FROM images WHERE original IS NULL ORDER BY id LIMIT 1) WHERE original IS NOT NULL`,
  ],
  [
    'another root',
    'UPDATE images SET root = (SELECT root FROM images ORDER BY id DESC LIMIT 1) WHERE id = 1',
  ],
  ['another name', "UPDATE images SET reference = 'registry.example/acme/zzz:9' WHERE id = 1"],
  ['a missing image', 'DELETE FROM images WHERE id = (SELECT max(id) FROM images)'],
  ['edges in another order', "UPDATE edges SET position = 99 - position WHERE role = 'layer'"],
  ['a missing edge', "DELETE FROM edges WHERE role = 'layer' AND position = 0"],
  ['missing children', "DELETE FROM edges WHERE role = 'manifest'"],
  ['subjects that are not followed', "DELETE FROM edges WHERE role IN ('subject', 'referrer')"],
  ['referrers that are not followed', "DELETE FROM edges WHERE role = 'referrer'"],
  [
    'a referrer too many',
    `INSERT INTO edges SELECT (SELECT min(blob) FROM manifests), 'referrer', 7, (SELECT max(blob) FROM manifests)`,
  ],
  ['a role that is none', "UPDATE edges SET role = 'friend' WHERE role = 'layer' AND position = 0"],
  ['a time that is none', "UPDATE about SET value = 'never'"],
  ['another time', "UPDATE about SET value = '2001-01-01T00:00:00.000Z'"],
  ['more about the bundle', "INSERT INTO about VALUES ('maker', 'me')"],
  ['a volume', 'INSERT INTO volumes VALUES (1, 1)'],
  ['another format version', 'PRAGMA user_version = 99'],
  [
    'a version of the system that is empty, not NULL',
    "UPDATE manifests SET os_version = '' WHERE os = 'linux' AND blob NOT IN (SELECT root FROM images)",
  ],
  [
    'a variant that is empty, not NULL',
    "UPDATE manifests SET variant = '' WHERE architecture = 'amd64' AND blob NOT IN (SELECT root FROM images)",
  ],
  [
    'an artifact type that is empty, not NULL',
    "UPDATE manifests SET artifact_type = '' WHERE artifact_type IS NULL AND blob NOT IN (SELECT root FROM images)",
  ],
  [
    'a list of features that is empty, not NULL',
    "UPDATE manifests SET os_features = '[]' WHERE os = 'linux' AND blob NOT IN (SELECT root FROM images)",
  ],
  ['features with other white space', "UPDATE manifests SET os_features = replace(os_features, '[', '[ ')"],
  ['a system in upper case', "UPDATE manifests SET os = 'Linux' WHERE os = 'linux'"],
  [
    'a platform that only the config states',
    `UPDATE manifests SET architecture = 'amd64', variant = NULL WHERE blob = (SELECT child FROM edges JOIN images ON root = parent
      WHERE reference LIKE '%/lying:%' AND role = 'manifest' AND position = 0)`,
  ],
  [
    'an edge from a filtered index to its original',
    `INSERT INTO edges SELECT root, 'original', 0, original FROM images WHERE original IS NOT NULL`,
  ],
  [
    'a missing edge to a layer that is left out',
    `DELETE FROM edges WHERE child IN (SELECT id FROM blobs WHERE left_out IS NOT NULL)`,
  ],
  ['another position of a referrer', "UPDATE edges SET position = 7 WHERE role = 'referrer'"],
  ['a position below zero', "UPDATE edges SET position = -1 WHERE role = 'config'"],
  ['a layer left out for another reason', "UPDATE blobs SET left_out = 'gone' WHERE left_out IS NOT NULL"],
  ['images with other numbers', 'UPDATE images SET id = id + 100'],
  ['a companion that is bytes', 'UPDATE images SET companion_of = CAST(companion_of AS BLOB)'],
  ['a time with a fraction', "UPDATE about SET value = replace(value, 'Z', '.5Z')"],
  ['a time in another zone', "UPDATE about SET value = replace(value, 'Z', '+00:00')"],
  ['a view under another name', "UPDATE sqlite_schema SET name = 'more' WHERE name = 'entries'"],
];

/** The same for a catalog of a delta. */
const deltaChanges: typeof changes = [
  ['a delta that names no base', 'DELETE FROM bases'],
  ['a day that does not exist', "UPDATE bases SET time = '2024-02-31T00:00:00Z'"],
  ['bases with other numbers', 'UPDATE bases SET id = 7'],
  ['a base of another kind', "UPDATE bases SET kind = 'rumour'"],
  ['a registry that is empty, not NULL', "UPDATE bases SET registry = ''"],
  [
    'a place of a layer that is carried',
    "INSERT INTO places SELECT min(id), 'site', 'acme/x' FROM blobs WHERE left_out IS NULL",
  ],
  [
    'more places than a reader needs',
    "INSERT INTO places WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT min(blob), 'site', 'a' || i FROM places, n GROUP BY i",
  ],
  [
    'a missing edge to a layer of the base',
    "DELETE FROM edges WHERE child = (SELECT min(id) FROM blobs WHERE left_out = 'base')",
  ],
];

/** Entries of an SQLite index: queries that use the index give other answers than its table. */
const indexes = ['blobs_by_digest', 'images_by_reference', 'edges_by_child', 'manifests_by_subject'];

describe('verify finds tampering with the catalog and the head', () => {
  const dir = temp({ after });
  const whole = join(dir, 'whole.tar');
  const delta = join(dir, 'delta.tar');
  let count = 0;
  before(async () => {
    await writeBundle(whole, smallCargo());
    await writeDelta(delta, smallCargo(), digestOf(Buffer.from('receipt')));
  });

  function copy(from = whole): string {
    const path = join(dir, `${count++}.tar`);
    copyFileSync(from, path);
    return path;
  }

  async function reportOf(path: string): Promise<VerifyReport | string> {
    try {
      return await verify(path, { jobs: 1 });
    } catch (error) {
      assert.ok(isAirliftError(error), String(error));
      return error.code;
    }
  }

  test('accepts the bundle before tampering', async () => {
    const report = await reportOf(whole);
    assert.deepEqual(typeof report === 'string' ? report : report.problems, []);
  });

  for (const [at, [what, sql]] of changes.entries())
    test(what, async () => {
      const path = copy();
      await tamperBySql(path, sql);
      assert.ok(!readFileSync(path).equals(readFileSync(whole)), 'something was changed');
      const report = await reportOf(path);
      if (typeof report === 'string') assert.equal(report, 'unsupported', what);
      else assert.notDeepEqual(report.problems, [], what);
      // Starting the program for each of them would take a minute.
      if (report === 'unsupported' || at % 6 !== 0) return;
      const { stderr } = await airlift(['verify', path], { codes: [4] });
      assert.doesNotMatch(stderr, /^\s+at |SqliteError/m);
    });

  for (const [what, sql] of deltaChanges)
    test(what, async () => {
      assert.deepEqual(
        await reportOf(delta).then((report) => typeof report !== 'string' && report.problems),
        [],
      );
      const path = copy(delta);
      await tamperBySql(path, sql);
      const report = await reportOf(path);
      assert.ok(typeof report !== 'string' && !report.ok);
    });

  test('a base without the layers that a delta leaves out', async () => {
    const other = join(dir, 'other.tar');
    await writeBundle(other, smallCargo().slice(0, 1));
    const whatOf = async (base: string): Promise<string[]> =>
      (await verify(delta, { jobs: 1, base: [base] })).problems.map(
        ({ kind, detail }) => `${kind}: ${detail}`,
      );
    assert.deepEqual(await whatOf(whole), []);
    const found = await whatOf(other);
    assert.ok(found.length > 0);
    assert.deepEqual([...new Set(found)], ['missing: left out, and none of the bases has it']);
  });

  test('tables, views, triggers, columns and pages that the format does not have', async () => {
    const bytes = readFileSync(whole);
    const entries = entriesOf(bytes);
    for (const sql of surroundings) {
      const path = copy();
      const changed = withChangedCatalog({ path: whole, bytes, entries }, path, sql);
      assert.ok(!changed.equals(bytes), sql);
      writeFileSync(path, changed);
      const report = await reportOf(path);
      assert.ok(typeof report === 'string' ? report === 'unsupported' : !report.ok, sql);
    }
  });

  for (const name of indexes)
    test(`an index of SQLite, ${name}, that contradicts its table`, async () => {
      const path = copy();
      // The index entry now matches no row of its table.
      await tamperBySql(
        path,
        `UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = '${name === 'blobs_by_digest' ? 'images_by_reference' : 'blobs_by_digest'}') WHERE name = '${name}'`,
      );
      for (const args of [
        ['verify', path],
        ['import', path, '--to', '127.0.0.1:1', '--retries', '0'],
      ]) {
        const { stderr } = await airlift(args, { codes: [4] });
        assert.doesNotMatch(stderr, /^\s+at |SqliteError/m);
      }
    });

  /** Replaces text in an entry of the head by other text of the same length, and updates SHA256SUMS. */
  async function replaceIn(
    name: string,
    from: string | RegExp,
    to: (found: string) => string,
  ): Promise<string> {
    const path = copy();
    const reader = await BundleReader.open(path);
    const { entries } = reader.head;
    await reader.close();
    const entry = entries.get(name) ?? assert.fail(name);
    const sums = entries.get('airlift/SHA256SUMS') ?? assert.fail();
    const bytes = readFileSync(path);
    const before = bytes.toString('latin1', entry.contentPosition, entry.contentPosition + entry.size);
    const after = before.replace(from, to);
    assert.notEqual(after, before, 'something was changed');
    assert.equal(after.length, before.length);
    bytes.write(after, entry.contentPosition, 'latin1');
    const hex = (text: string): string =>
      createHash('sha256').update(Buffer.from(text, 'latin1')).digest('hex');
    const at = bytes.indexOf(hex(before), sums.contentPosition);
    if (name !== 'airlift/SHA256SUMS') bytes.write(hex(after), at, 'latin1');
    writeFileSync(path, bytes);
    return path;
  }

  test('index.json: a containerd name that differs from the image’s', async () => {
    const path = await replaceIn(
      'index.json',
      /"io\.containerd\.image\.name":"registry\.example\/acme\/web/,
      (found) => found.replace('web', 'wev'),
    );
    const report = await reportOf(path);
    assert.deepEqual(typeof report === 'string' ? report : report.problems.map(({ kind }) => kind), [
      'index',
    ]);
  });

  test('index.json: two images that swap their names', async () => {
    const path = await replaceIn('index.json', /acme\/(?:web|odd)/g, (found) =>
      found === 'acme/web' ? 'acme/odd' : 'acme/web',
    );
    const report = await reportOf(path);
    assert.ok(typeof report !== 'string' && report.problems.some(({ kind }) => kind === 'index'));
  });

  test('index.json: a foreign platform or address', async () => {
    for (const [from, to] of [
      [/"architecture":"arm64"/, (found: string) => found.replace('arm64', 's390x')],
      [
        /"annotations":\{"io\.containerd\.image\.name"/,
        () => `"urls":["a"],"x":{"io.containerd.image.name"`.padEnd(40).slice(0, 41),
      ],
    ] as const) {
      const path = await replaceIn('index.json', from, (found) =>
        to(found).padEnd(found.length, ' ').slice(0, found.length),
      );
      const report = await reportOf(path);
      assert.ok(typeof report !== 'string' && !report.ok);
    }
  });

  test('SHA256SUMS: lines in another order, a line twice, and one of 128 digits', async () => {
    const line = /[0-9a-f]{64} {2}blobs\/sha256\/[0-9a-f]{64}\n/g;
    const lines = (text: string): string[] => text.match(line) ?? [];
    const twice = await replaceIn('airlift/SHA256SUMS', /[^]+/, (text) => {
      const [first = '', second = ''] = lines(text);
      return text.replace(second, first);
    });
    const swapped = await replaceIn('airlift/SHA256SUMS', /[^]+/, (text) => {
      const [first = '', second = ''] = lines(text);
      return text.replace(`${first}${second}`, `${second}${first}`);
    });
    const long = await replaceIn('airlift/SHA256SUMS', /[^]+/, (text) => {
      const [first = '', second = ''] = lines(text);
      const both = `${'0'.repeat(128)}  x`;
      return text.replace(
        `${first}${second}`,
        `${both}${'y'.repeat(first.length + second.length - both.length - 1)}\n`,
      );
    });
    for (const path of [twice, swapped, long]) {
      const report = await reportOf(path);
      assert.ok(typeof report !== 'string' && report.problems.some(({ kind }) => kind === 'sums'));
    }
  });

  test('a blob that no sum covers, also if there is no catalog to compare with', async () => {
    const line = /[0-9a-f]{64} {2}blobs\/sha256\/[0-9a-f]{64}\n/g;
    const path = await replaceIn('airlift/SHA256SUMS', /[^]+/, (text) => {
      const [first = '', second = ''] = text.match(line) ?? [];
      return text.replace(second, first);
    });
    const bytes = readFileSync(path);
    const at = bytes.indexOf('SQLite format 3') + 5000;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const report = await reportOf(path);
    const details = typeof report === 'string' ? [] : report.problems.map(({ detail }) => detail);
    assert.ok(
      details.some((detail) => /^digest mismatch; got sha256/.test(detail)),
      'the catalog is damaged',
    );
    assert.ok(
      details.some((detail) => /^does not list sha256:/.test(detail)),
      details.join('\n'),
    );
  });

  test('the last blocks of the archive', async () => {
    for (const back of [1, 512, 513, 1024]) {
      const path = copy();
      const bytes = readFileSync(path);
      bytes[bytes.length - back] = 1;
      writeFileSync(path, bytes);
      const report = await reportOf(path);
      assert.ok(typeof report !== 'string' && !report.ok, `${back} bytes before the end`);
    }
  });
});

import type { Database } from './database.js';
import { AirliftError, isAirliftError } from '../../errors.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { maxManifestSize } from '../../oci/manifest.js';
import { formatReference, isRegistry, isRepositoryPath, parseReference } from '../../oci/reference.js';
import { blobPath } from '../../oci/image-layout.js';
import { isTime } from '../../oci/time.js';
import { headerLength, paddedLength } from '../../tar/header.js';
import { maxPlaces } from './delta.js';
import { deltaVersion, maxTrustedRoot, trustedRootName } from './format.js';
import { aboutOfPart, partNames, partOfAbout } from './part.js';

const referrers = "SELECT parent, position, child FROM edges WHERE role = 'referrer'";
const subjects = `SELECT child, row_number() OVER (PARTITION BY child ORDER BY parent) - 1, parent FROM edges WHERE role = 'subject'`;

/** Returns a query for the rows that only one of two queries selects. */
function differing(one: string, other: string): string {
  return `SELECT * FROM (${one} EXCEPT ${other}) UNION ALL SELECT * FROM (${other} EXCEPT ${one})`;
}

/** The storage class of each column, with `?` where NULL is allowed. SQLite stores any type in any column of an existing file. */
const columns: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  about: { name: 'text', value: 'text' },
  blobs: {
    id: 'integer',
    digest: 'text',
    size: 'integer',
    kind: 'text',
    content_offset: 'integer?',
    left_out: 'text?',
  },
  manifests: {
    blob: 'integer',
    media_type: 'text',
    artifact_type: 'text?',
    subject: 'text?',
    os: 'text?',
    architecture: 'text?',
    variant: 'text?',
    os_version: 'text?',
    os_features: 'text?',
  },
  edges: { parent: 'integer', role: 'text', position: 'integer', child: 'integer' },
  images: {
    id: 'integer',
    reference: 'text',
    root: 'integer',
    media_type: 'text',
    artifact_type: 'text?',
    original: 'integer?',
    companion_of: 'text?',
  },
};

/** The same for the tables that only a delta has. */
const deltaColumns: typeof columns = {
  bases: { id: 'integer', kind: 'text', registry: 'text?', time: 'text', digest: 'text' },
  places: { blob: 'integer', kind: 'text', repository: 'text' },
};

/** Returns a query for rows of a table with a value of the wrong type, or with an empty text: what is unknown is NULL. */
function wrongTypes([table, types]: [string, Readonly<Record<string, string>>]): Impossible {
  const conditions = Object.entries(types).map(([column, type]) => {
    const allowed = type.endsWith('?') ? `'${type.slice(0, -1)}', 'null'` : `'${type}'`;
    return `typeof("${column}") NOT IN (${allowed}) OR "${column}" IS ''`;
  });
  return [
    `a row of ${table} has a field of the wrong type`,
    `SELECT 1 FROM "${table}" WHERE ${conditions.join(' OR ')}`,
  ];
}

type Impossible = readonly [happened: string, sql: string];

/** Queries for invalid rows, each with its error. Constraints do not help: SQLite does not check those of existing files. */
const impossible: readonly Impossible[] = [
  ...Object.entries(columns).map(wrongTypes),
  [
    'it has properties that this format version does not define',
    `SELECT 1 FROM about WHERE name NOT IN ('created', ${[trustedRootName, ...Object.values(partNames)]
      .map((name) => `'${name}'`)
      .join(
        ', ',
      )}) OR length(value) > iif(name = '${trustedRootName}', ${maxTrustedRoot}, 4096) UNION ALL SELECT 1 FROM volumes`,
  ],
  [
    'a blob has an unknown kind, or its offset contradicts left_out',
    "SELECT 1 FROM blobs WHERE kind NOT IN ('index', 'manifest', 'config', 'layer') OR (left_out IS NULL) = (content_offset IS NULL)",
  ],
  [
    'it leaves out a blob that is not a layer',
    "SELECT 1 FROM blobs WHERE left_out IS NOT NULL AND kind <> 'layer'",
  ],
  [
    'a row of manifests has no manifest or index among the blobs',
    "SELECT 1 FROM manifests LEFT JOIN blobs ON id = blob WHERE kind IS NULL OR kind NOT IN ('index', 'manifest')",
  ],
  [
    'a manifest or index has no row in manifests',
    "SELECT 1 FROM blobs WHERE kind IN ('index', 'manifest') AND id NOT IN (SELECT blob FROM manifests)",
  ],
  [
    'a manifest is too large',
    `SELECT 1 FROM blobs WHERE kind IN ('index', 'manifest') AND size > ${maxManifestSize}`,
  ],
  [
    'a manifest has a malformed field',
    `SELECT 1 FROM manifests WHERE length(media_type) > 255 OR (os IS NULL) <> (architecture IS NULL)
      OR NOT json_valid(coalesce(os_features, '[]')) OR json_type(coalesce(os_features, '[]')) <> 'array'
      OR EXISTS (SELECT 1 FROM json_each(coalesce(os_features, '[]')) WHERE json_each.type <> 'text')`,
  ],
  [
    'a manifest without a platform has parts of one',
    'SELECT 1 FROM manifests WHERE os IS NULL AND coalesce(variant, os_version, os_features) IS NOT NULL',
  ],
  [
    'an edge is malformed or leads to a missing row',
    `SELECT 1 FROM edges LEFT JOIN manifests ON manifests.blob = parent LEFT JOIN blobs ON blobs.id = child
      WHERE manifests.blob IS NULL OR blobs.id IS NULL OR position < 0
      OR role NOT IN ('manifest', 'config', 'layer', 'subject', 'referrer')`,
  ],
  ['the edges of referrers are not the subjects of manifests, reversed', differing(referrers, subjects)],
  [
    'an image is malformed or has no root',
    `SELECT 1 FROM images LEFT JOIN manifests AS root ON root.blob = root LEFT JOIN manifests AS other ON other.blob = original
      WHERE root.blob IS NULL OR (original IS NOT NULL AND other.blob IS NULL)`,
  ],
  [
    'an image contradicts its manifest',
    `SELECT 1 FROM images JOIN manifests ON manifests.blob = root
      WHERE images.media_type <> manifests.media_type OR (images.artifact_type IS NOT NULL AND images.artifact_type IS NOT manifests.artifact_type)`,
  ],
];

/** The same for a catalog that is not a delta's. */
const impossibleWhole: typeof impossible = [
  [
    'it leaves out a blob for a reason that this format version does not define',
    "SELECT 1 FROM blobs WHERE left_out <> 'foreign'",
  ],
];

/** The same for a delta. */
const impossibleDelta: typeof impossible = [
  ...Object.entries(deltaColumns).map(wrongTypes),
  [
    'it leaves out a blob for an unknown reason',
    "SELECT 1 FROM blobs WHERE left_out NOT IN ('foreign', 'base')",
  ],
  [
    'it is a delta that leaves nothing out, or that names no base',
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE left_out = 'base') OR NOT EXISTS (SELECT 1 FROM bases)",
  ],
  ['a base is malformed', "SELECT 1 FROM bases WHERE kind NOT IN ('receipt', 'sent', 'bundle')"],
  [
    'a place is malformed, or is that of a blob which the bundle carries',
    `SELECT 1 FROM places LEFT JOIN blobs ON blobs.id = blob WHERE left_out IS NOT 'base' OR places.kind NOT IN ('site', 'source')
      OR length(repository) > 520`,
  ],
  ['a blob has too many places', `SELECT 1 FROM places GROUP BY blob HAVING count(*) > ${maxPlaces}`],
];

type Fail = (happened: string) => never;

/**
 * Checks every row of an untrusted catalog: types, digests, references, edges, their order, and that the blobs are adjacent. After that the rows can be
 * used without further checks.
 * @param bundle name of the bundle in messages
 * @param version format version of the catalog
 * @returns bytes from the first blob's header to the end of the last blob
 * @throws AirliftError `damaged`
 */
export function checkCatalog(database: Database, bundle: string, version: number): number {
  const fail: Fail = (happened) => {
    throw new AirliftError('damaged', `read the catalog of ${bundle}: ${happened}`);
  };
  const isDelta = version === deltaVersion;
  for (const [happened, sql] of [...impossible, ...(isDelta ? impossibleDelta : impossibleWhole)])
    if (database.prepare(`${sql} LIMIT 1`).get() !== undefined) fail(happened);
  const end = checkBlobs(database, fail);
  const digests =
    'SELECT companion_of FROM images WHERE companion_of IS NOT NULL UNION SELECT subject FROM manifests WHERE subject IS NOT NULL';
  for (const digest of database.prepare(digests).pluck().iterate())
    if (!isDigest(digest)) fail(`${JSON.stringify(digest).slice(0, 200)} is not a digest`);
  checkImages(database, fail);
  checkAbout(database, fail);
  if (isDelta) checkBases(database, fail);
  return end;
}

/**
 * Checks that the blobs are numbered in their order, and follow each other without gaps.
 * @returns bytes from the first blob's header to the end of the last blob
 */
function checkBlobs(database: Database, fail: Fail): number {
  let end = 0;
  let ordinal = 0;
  let before = '';
  for (const row of database
    .prepare('SELECT id, digest, size, kind, content_offset FROM blobs ORDER BY id')
    .raw()
    .iterate()) {
    const [id, digest, size, kind, offset] = row as [number, string, number, string, number | null];
    ordinal++;
    if (id !== ordinal || !isDigest(digest) || !Number.isSafeInteger(size) || size < 0)
      fail(`blob ${id} is malformed`);
    const place = `${offset === null ? 2 : kind === 'layer' ? 1 : 0} ${digest}`;
    if (place <= before) fail(`blob ${digest} is out of order`);
    before = place;
    if (offset === null) continue;
    const want = end + headerLength(blobPath(digest as Digest));
    if (offset !== want) fail(`blob ${digest} is out of place; got offset ${offset}, want ${want}`);
    end = want + paddedLength(size);
    if (!Number.isSafeInteger(end)) fail(`blob ${digest} ends beyond the largest possible file`);
  }
  return end;
}

/** Checks that the properties of the bundle are its time, a trusted root and, of a part, what describes the part. */
function checkAbout(database: Database, fail: Fail): void {
  const rows = new Map(
    database.prepare('SELECT name, value FROM about').raw().all() as [name: string, value: string][],
  );
  if (!isTime(rows.get('created'))) fail('its creation time is malformed');
  rows.delete('created');
  // Compared with the entry of the archive by `verify`.
  rows.delete(trustedRootName);
  if (rows.size === 0) return;
  const part = partOfAbout((name) => rows.get(name));
  const want = part === undefined ? [] : Object.entries(aboutOfPart(part));
  if (want.length !== rows.size || want.some(([name, value]) => rows.get(name) !== value))
    fail('what it says about its part is malformed');
}

/** Checks that the images are numbered in the order of their references. */
function checkImages(database: Database, fail: Fail): void {
  let ordinal = 0;
  let before = '';
  for (const row of database.prepare('SELECT id, reference FROM images ORDER BY id').raw().iterate()) {
    const [id, reference] = row as [number, string];
    if (!isFullReference(reference))
      fail(`image ${JSON.stringify(reference).slice(0, 300)} is not a full reference`);
    if (id !== ++ordinal || reference <= before) fail(`image ${reference} is out of order`);
    before = reference;
  }
}

/** Checks the texts of a delta's bases and places. */
function checkBases(database: Database, fail: Fail): void {
  let ordinal = 0;
  let before = '';
  for (const row of database
    .prepare('SELECT id, kind, registry, time, digest FROM bases ORDER BY id')
    .raw()
    .iterate()) {
    const [id, kind, registry, time, digest] = row as [number, string, string | null, string, string];
    if (!isDigest(digest) || !isTime(time) || (registry !== null && !isSiteName(registry)))
      fail('a base is malformed');
    const place = `${kind} ${digest}`;
    if (id !== ++ordinal || place <= before) fail('its bases are out of order');
    before = place;
  }
  for (const row of database.prepare('SELECT DISTINCT kind, repository FROM places').raw().iterate()) {
    const [kind, repository] = row as [string, string];
    if (kind === 'source' ? !isFullReference(`${repository}:any`) : !isRepositoryPath(repository))
      fail(`${JSON.stringify(repository).slice(0, 300)} is not a repository`);
  }
}

/** Reports whether a text is a registry, with a path if it stands for a part of the registry. */
function isSiteName(text: string): boolean {
  const [registry = '', ...path] = text.split('/');
  return isRegistry(registry) && (path.length === 0 || isRepositoryPath(path.join('/')));
}

function isFullReference(text: unknown): boolean {
  try {
    return typeof text === 'string' && formatReference(parseReference(text)) === text;
  } catch (error) {
    if (isAirliftError(error, 'usage')) return false;
    throw error;
  }
}

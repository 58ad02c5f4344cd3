import type { Database } from './database.js';
import { AirliftError, isAirliftError } from '../../errors.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { maxManifestSize } from '../../oci/manifest.js';
import { formatReference, isRegistry, isRepositoryPath, parseReference } from '../../oci/reference.js';
import { blobPath } from '../../oci/image-layout.js';
import { headerLength, paddedLength } from '../../tar/header.js';
import { deltaVersion } from './format.js';
import { partNames } from './part.js';

/** Queries for invalid rows, each with its error. SQLite stores any type in any column and does not check constraints of existing files. */
const impossible: readonly (readonly [happened: string, sql: string])[] = [
  [
    'a blob has a size or kind of the wrong type',
    "SELECT 1 FROM blobs WHERE typeof(size) <> 'integer' OR typeof(kind) <> 'text'",
  ],
  [
    'a blob has a field of the wrong type',
    `SELECT 1 FROM blobs WHERE typeof(digest) <> 'text' OR typeof(coalesce(content_offset, 0)) <> 'integer'
      OR typeof(coalesce(left_out, '')) <> 'text'`,
  ],
  [
    'it has properties that this format version does not define',
    `SELECT 1 FROM about WHERE name NOT IN ('created', ${Object.values(partNames)
      .map((name) => `'${name}'`)
      .join(', ')}) OR typeof(value) <> 'text' OR length(value) > 4096 UNION ALL SELECT 1 FROM volumes`,
  ],
  [
    'a blob has an unknown kind, or its offset contradicts left_out',
    "SELECT 1 FROM blobs WHERE kind NOT IN ('index', 'manifest', 'config', 'layer') OR (left_out IS NULL) = (content_offset IS NULL)",
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
    'a manifest has a field of the wrong type',
    `SELECT 1 FROM manifests WHERE typeof(media_type) <> 'text' OR length(media_type) > 255
      OR typeof(coalesce(artifact_type, '')) <> 'text' OR typeof(coalesce(subject, '')) <> 'text'
      OR typeof(coalesce(os, '')) <> 'text' OR typeof(coalesce(architecture, '')) <> 'text' OR (os IS NULL) <> (architecture IS NULL)
      OR typeof(coalesce(variant, '')) <> 'text' OR typeof(coalesce(os_version, '')) <> 'text'
      OR typeof(coalesce(os_features, '')) <> 'text' OR NOT json_valid(coalesce(os_features, '[]'))
      OR json_type(coalesce(os_features, '[]')) <> 'array'
      OR EXISTS (SELECT 1 FROM json_each(coalesce(os_features, '[]')) WHERE json_each.type <> 'text')`,
  ],
  [
    'a manifest without a platform has parts of one',
    'SELECT 1 FROM manifests WHERE os IS NULL AND coalesce(variant, os_version, os_features) IS NOT NULL',
  ],
  [
    'an edge is malformed or leads to a missing row',
    `SELECT 1 FROM edges LEFT JOIN manifests ON manifests.blob = parent LEFT JOIN blobs ON blobs.id = child
      WHERE manifests.blob IS NULL OR blobs.id IS NULL OR typeof(position) <> 'integer'
      OR role NOT IN ('manifest', 'config', 'layer', 'subject', 'referrer', 'original')`,
  ],
  [
    'an image is malformed or has no root',
    `SELECT 1 FROM images LEFT JOIN manifests AS root ON root.blob = root LEFT JOIN manifests AS other ON other.blob = original
      WHERE root.blob IS NULL OR (original IS NOT NULL AND other.blob IS NULL) OR typeof(images.media_type) <> 'text'
      OR typeof(coalesce(images.artifact_type, '')) <> 'text' OR typeof(coalesce(companion_of, '')) <> 'text'`,
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
    'it leaves out a blob of a base, which this format version does not define',
    "SELECT 1 FROM blobs WHERE left_out = 'base'",
  ],
];

/** The same for a delta. */
const impossibleDelta: typeof impossible = [
  [
    'it leaves out a blob for an unknown reason, or a blob of its base that is not a layer',
    "SELECT 1 FROM blobs WHERE left_out NOT IN ('foreign', 'base') OR (left_out = 'base' AND kind <> 'layer')",
  ],
  [
    'a base is malformed',
    `SELECT 1 FROM bases WHERE typeof(id) <> 'integer' OR kind NOT IN ('receipt', 'sent', 'bundle') OR typeof(coalesce(registry, '')) <> 'text'
      OR typeof(time) <> 'text' OR time NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z'
      OR typeof(digest) <> 'text'`,
  ],
  [
    'a place is malformed, or is that of a blob which the bundle carries',
    `SELECT 1 FROM places LEFT JOIN blobs ON blobs.id = blob WHERE left_out IS NOT 'base' OR places.kind NOT IN ('site', 'source')
      OR typeof(repository) <> 'text' OR length(repository) > 520`,
  ],
];

/**
 * Checks every row of an untrusted catalog: types, digests, references, edges, and that the blobs are adjacent. After that the rows can be
 * used without further checks.
 * @param bundle name of the bundle in messages
 * @param version format version of the catalog
 * @returns bytes from the first blob's header to the end of the last blob
 * @throws AirliftError `damaged`
 */
export function checkCatalog(database: Database, bundle: string, version: number): number {
  const fail = (happened: string): never => {
    throw new AirliftError('damaged', `read the catalog of ${bundle}: ${happened}`);
  };
  const isDelta = version === deltaVersion;
  for (const [happened, sql] of [...impossible, ...(isDelta ? impossibleDelta : impossibleWhole)])
    if (database.prepare(`${sql} LIMIT 1`).get() !== undefined) fail(happened);
  let end = 0;
  let ordinal = 0;
  for (const row of database
    .prepare('SELECT id, digest, size, content_offset FROM blobs ORDER BY id')
    .raw()
    .iterate()) {
    const [id, digest, size, offset] = row as [number, string, number, number | null];
    ordinal++;
    if (id !== ordinal || !isDigest(digest) || !Number.isSafeInteger(size) || size < 0)
      fail(`blob ${id} is malformed`);
    if (offset === null) continue;
    const want = end + headerLength(blobPath(digest as Digest));
    if (offset !== want) fail(`blob ${digest} is out of place; got offset ${offset}, want ${want}`);
    end = want + paddedLength(size);
    if (!Number.isSafeInteger(end)) fail(`blob ${digest} ends beyond the largest possible file`);
  }
  const digests =
    'SELECT companion_of FROM images WHERE companion_of IS NOT NULL UNION SELECT subject FROM manifests WHERE subject IS NOT NULL';
  for (const digest of database.prepare(digests).pluck().iterate())
    if (!isDigest(digest)) fail(`${JSON.stringify(digest).slice(0, 200)} is not a digest`);
  for (const text of database.prepare('SELECT reference FROM images').pluck().iterate())
    if (!isFullReference(text)) fail(`image ${JSON.stringify(text).slice(0, 300)} is not a full reference`);
  if (isDelta) checkBases(database, fail);
  return end;
}

/** Checks the texts of a delta's bases and places. */
function checkBases(database: Database, fail: (happened: string) => never): void {
  for (const row of database.prepare('SELECT registry, digest FROM bases').raw().iterate()) {
    const [registry, digest] = row as [string | null, string];
    if (!isDigest(digest) || (registry !== null && !isSiteName(registry))) fail('a base is malformed');
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

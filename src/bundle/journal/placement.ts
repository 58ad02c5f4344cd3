import { createHash } from 'node:crypto';
import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import { blobPath } from '../../oci/image-layout.js';
import type { Journal } from './journal.js';
import { headerLength } from '../../tar/header.js';

const nestedIndexes = (tree: string): string =>
  `SELECT child FROM ${tree} CROSS JOIN edges ON parent = ${tree}.id AND role = 'manifest'
    CROSS JOIN blobs ON blobs.id = child AND kind = 'index'`;

/** Publishers' indexes, nested ones too, that only their bytes are carried of: they name platforms that were filtered out. */
export const bytesOnly = `
  WITH RECURSIVE whole (id) AS (SELECT root FROM images UNION ${nestedIndexes('whole')}),
    published (id) AS (SELECT original FROM images WHERE original IS NOT NULL UNION ${nestedIndexes('published')})
  SELECT id FROM published EXCEPT SELECT id FROM whole`;

/**
 * Checks that everything the plan names is part of it. Only a `subject` may be elsewhere, since referrers are allowed to
 * refer to what is not there, and what was filtered out of a publisher's index.
 * @throws AirliftError `input`
 */
export function checkPlan(journal: Journal): void {
  const missing = journal.database
    .prepare(
      `SELECT digest FROM blobs WHERE size IS NULL AND (
        id IN (SELECT child FROM edges WHERE role <> 'subject' AND parent NOT IN (${bytesOnly})) OR id IN (SELECT parent FROM edges)
        OR id IN (SELECT root FROM images) OR id IN (SELECT original FROM images))
      UNION ALL SELECT digest FROM blobs WHERE id NOT IN (SELECT blob FROM manifests) AND (
        id IN (SELECT root FROM images) OR id IN (SELECT parent FROM edges) OR id IN (SELECT original FROM images))
      LIMIT 1`,
    )
    .pluck()
    .get() as string | undefined;
  if (missing !== undefined)
    throw new AirliftError('input', `lay out bundle: ${missing} is named but was not added to the plan`);
}

/**
 * Gives every blob its place: manifests and configs by digest, then layers by digest, then, without a place, those left out.
 * `offset` is where the content begins, counted from the header of the first blob.
 */
export function placeBlobs(journal: Journal): void {
  const { database } = journal;
  database.function('header_length', { deterministic: true }, (digest: unknown) =>
    headerLength(blobPath(digest as Digest)),
  );
  database.exec(`
    UPDATE blobs SET ordinal = place.ordinal, "offset" = iif(left_out IS NULL, place."end" - place.padded, NULL)
    FROM (
      SELECT id, padded, row_number() OVER placing AS ordinal, sum(header + padded) OVER placing AS "end"
      FROM (
        SELECT id, digest, left_out IS NOT NULL AS absent, kind = 'layer' AS late,
          header_length(digest) AS header, (size + 511) / 512 * 512 AS padded
        FROM blobs WHERE size IS NOT NULL
      )
      WINDOW placing AS (ORDER BY absent, late, digest ROWS UNBOUNDED PRECEDING)
    ) AS place WHERE place.id = blobs.id;
    CREATE INDEX IF NOT EXISTS blobs_by_ordinal ON blobs (ordinal);
    CREATE INDEX IF NOT EXISTS blobs_by_size ON blobs (size DESC, id);
  `);
}

/** Bytes of all blobs' contents, and of the blobs with their headers and padding. */
export function placedBytes(journal: Journal): { contents: number; length: number; count: number } {
  return journal.database
    .prepare(
      `SELECT count(*) AS count, coalesce(sum(size), 0) AS contents,
        coalesce(max("offset" + (size + 511) / 512 * 512), 0) AS length
      FROM blobs WHERE "offset" IS NOT NULL`,
    )
    .get() as { contents: number; length: number; count: number };
}

/** A digest over all of a laid-out plan that a transfer relies on. A journal that gives another one is damaged. */
export function digestOfPlacement(journal: Journal): string {
  const hash = createHash('sha256');
  for (const name of ['fingerprint', 'created', 'start', 'size', 'head'])
    hash.update(`${JSON.stringify(journal.get(name))}\n`);
  const rows = journal.database
    .prepare(
      `SELECT id, digest, size, "offset", kind, media_type, urls, registry, repository,
        EXISTS (SELECT 1 FROM contents WHERE blob = id) FROM blobs WHERE size IS NOT NULL ORDER BY ordinal`,
    )
    .raw();
  for (const row of rows.iterate()) hash.update(`${JSON.stringify(row)}\n`);
  return hash.digest('hex');
}

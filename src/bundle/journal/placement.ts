import { createHash } from 'node:crypto';
import type { Database } from '../format/database.js';
import { AirliftError } from '../../errors.js';
import { subjectOfTag } from '../../oci/companion-tag.js';
import type { Digest } from '../../oci/digest.js';
import { blobPath } from '../../oci/image-layout.js';
import { parseReference } from '../../oci/reference.js';
import { headerLength } from '../../tar/header.js';
import type { IndexRow } from '../format/head-content.js';

const nestedIndexes = (tree: string): string =>
  `SELECT child FROM ${tree} CROSS JOIN edges ON parent = ${tree}.id AND role = 'manifest'
    CROSS JOIN blobs ON blobs.id = child AND kind = 'index'`;

/**
 * Publishers' indexes, nested ones included, that are carried beside their filtered copies: only their bytes count, for they name
 * platforms that were filtered out.
 */
export const bytesOnly = `
  WITH RECURSIVE whole (id) AS (SELECT root FROM images UNION ${nestedIndexes('whole')}),
    published (id) AS (SELECT original FROM images WHERE original IS NOT NULL UNION ${nestedIndexes('published')})
  SELECT id FROM published EXCEPT SELECT id FROM whole`;

const missingFromPlan = `SELECT digest FROM blobs WHERE size IS NULL AND (
    id IN (SELECT child FROM edges WHERE role <> 'subject' AND parent NOT IN (${bytesOnly})) OR id IN (SELECT parent FROM edges)
    OR id IN (SELECT root FROM images) OR id IN (SELECT original FROM images))
  UNION ALL SELECT digest FROM blobs WHERE id NOT IN (SELECT blob FROM manifests) AND (
    id IN (SELECT root FROM images) OR id IN (SELECT parent FROM edges) OR id IN (SELECT original FROM images))
  LIMIT 1`;

const placeBlobs = `
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
`;

/** Copies the laid-out plan into an attached catalog, in a fixed order. `ordinal` becomes the blob's id. */
const catalogCopies = [
  `INSERT INTO catalog.blobs SELECT ordinal, digest, size, kind, "offset", left_out FROM blobs
    WHERE size IS NOT NULL ORDER BY ordinal`,
  `INSERT INTO catalog.manifests
    SELECT blobs.ordinal, manifests.media_type, artifact_type, subject, os, architecture, variant, os_version, os_features
    FROM manifests JOIN blobs ON blobs.id = manifests.blob ORDER BY blobs.ordinal`,
  `INSERT INTO catalog.edges
    SELECT parent.ordinal, role, position, child.ordinal
    FROM edges JOIN blobs AS parent ON parent.id = edges.parent JOIN blobs AS child ON child.id = edges.child
    WHERE child.size IS NOT NULL ORDER BY 1, 2, 3`,
  // A referrer is also reached from its subject, so that it is imported with its subject.
  `INSERT INTO catalog.edges
    SELECT child, 'referrer', row_number() OVER (PARTITION BY child ORDER BY parent) - 1, parent
    FROM catalog.edges WHERE role = 'subject' ORDER BY 1, 3`,
  `INSERT INTO catalog.images
    SELECT row_number() OVER (ORDER BY reference), reference, root.ordinal, images.media_type, images.artifact_type,
      original.ordinal, subject.digest
    FROM images JOIN blobs AS root ON root.id = images.root LEFT JOIN blobs AS original ON original.id = images.original
      LEFT JOIN blobs AS subject ON subject.digest = subject_of_tag(reference) AND subject.id IN (SELECT blob FROM manifests)
    ORDER BY reference`,
];

/** The rows that only a delta has. */
const deltaCopies = [
  'INSERT INTO catalog.bases SELECT row_number() OVER (ORDER BY kind, digest), kind, registry, time, digest FROM bases ORDER BY kind, digest',
  `INSERT INTO catalog.places SELECT ordinal, places.kind, places.repository FROM places JOIN blobs ON blobs.id = places.blob
    WHERE left_out = 'base' ORDER BY 1, 2, 3`,
];

/** Totals of the blobs that the bundle carries. */
export interface PlacedTotals {
  readonly count: number;
  /** Bytes of their contents. */
  readonly contents: number;
  /** Bytes from the first blob's header to the end of the last blob's padding. */
  readonly length: number;
}

/** A blob that has its place in the bundle. */
export interface PlacedBlob {
  readonly ordinal: number;
  readonly digest: Digest;
  readonly size: number;
  /** Where its content begins, counted from the first blob's header. */
  readonly offset: number;
}

/** A placed blob with its content, if the journal has it. */
export interface PlacedContent extends PlacedBlob {
  readonly bytes: Buffer | null;
}

/** Rows per page: between two pages the connection is free, and timers and signals are handled. */
const pageRows = 1000;

/** Lays out the journal's plan: the order and offset of every blob, and the rows that the head of the bundle is made of. */
export class Placement {
  readonly #database: Database;
  readonly #statements;

  constructor(database: Database) {
    this.#database = database;
    database.function('header_length', { deterministic: true }, (digest: unknown) =>
      headerLength(blobPath(digest as Digest)),
    );
    // To a reader a signature belongs to its image, even if the list of images names the signature itself.
    database.function(
      'subject_of_tag',
      { deterministic: true },
      (reference: unknown) => subjectOfTag(parseReference(String(reference)).tag) ?? null,
    );
    this.#statements = {
      missing: database.prepare(missingFromPlan).pluck(),
      totals: database.prepare(
        `SELECT count(*) AS count, coalesce(sum(size), 0) AS contents,
          coalesce(max("offset" + (size + 511) / 512 * 512), 0) AS length
        FROM blobs WHERE "offset" IS NOT NULL`,
      ),
      rows: database
        .prepare(
          `SELECT id, digest, size, "offset", kind, media_type, urls, registry, repository,
            EXISTS (SELECT 1 FROM contents WHERE blob = id) FROM blobs WHERE size IS NOT NULL ORDER BY ordinal`,
        )
        .raw(),
      contents: database.prepare(
        `SELECT ordinal, digest, size, "offset", bytes FROM blobs LEFT JOIN contents ON contents.blob = blobs.id
        WHERE ordinal > ? AND "offset" IS NOT NULL ORDER BY ordinal LIMIT ${pageRows}`,
      ),
      withoutContent: database.prepare(
        `SELECT ordinal, digest, size, "offset" FROM blobs WHERE ordinal > ? AND "offset" IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM contents WHERE blob = blobs.id) ORDER BY ordinal LIMIT ${pageRows}`,
      ),
      indexRows: database.prepare(
        `SELECT reference, images.media_type AS mediaType, images.artifact_type AS artifactType, digest, size, kind, os,
          architecture, variant, os_version AS osVersion, os_features AS osFeatures
        FROM images JOIN blobs ON blobs.id = images.root JOIN manifests ON manifests.blob = images.root ORDER BY reference`,
      ),
      digests: database
        .prepare('SELECT digest FROM blobs WHERE "offset" IS NOT NULL ORDER BY ordinal')
        .pluck(),
    };
  }

  /**
   * Checks that everything the plan names is part of it, except subjects (referrers may refer to missing content) and what was
   * filtered out of a publisher's index.
   * @throws AirliftError `input`
   */
  checkPlan(): void {
    const missing = this.#statements.missing.get() as string | undefined;
    if (missing !== undefined)
      throw new AirliftError('input', `lay out bundle: ${missing} is named but was not added to the plan`);
  }

  /** Orders the blobs and sets their offsets: manifests and configs by digest, then layers by digest, last the blobs left out. */
  placeBlobs(): void {
    this.#database.exec(placeBlobs);
  }

  totals(): PlacedTotals {
    return this.#statements.totals.get() as PlacedTotals;
  }

  /**
   * Computes a digest over everything in a laid-out plan that a transfer relies on. A journal with another digest is damaged.
   * @param figures values of the journal that the digest covers too
   */
  digest(figures: readonly unknown[]): string {
    const hash = createHash('sha256');
    for (const figure of figures) hash.update(`${JSON.stringify(figure)}\n`);
    for (const row of this.#statements.rows.iterate()) hash.update(`${JSON.stringify(row)}\n`);
    return hash.digest('hex');
  }

  /** Yields the carried blobs in file order, page by page. */
  contentPages(): Iterable<readonly PlacedContent[]> {
    return pages((after) => this.#statements.contents.all(after) as PlacedContent[]);
  }

  /** Yields the carried blobs that have to be downloaded in file order, page by page. */
  pagesWithoutContent(): Iterable<readonly PlacedBlob[]> {
    return pages((after) => this.#statements.withoutContent.all(after) as PlacedBlob[]);
  }

  /** Yields the rows of `index.json`. */
  indexRows(): Iterable<IndexRow> {
    return this.#statements.indexRows.iterate() as Iterable<IndexRow>;
  }

  /** Yields the digests of the carried blobs in file order. */
  digests(): Iterable<Digest> {
    return this.#statements.digests.iterate() as Iterable<Digest>;
  }

  /** Whether the plan leaves out a blob that its base has. */
  get isDelta(): boolean {
    return (
      this.#database.prepare("SELECT EXISTS (SELECT 1 FROM blobs WHERE left_out = 'base')").pluck().get() ===
      1
    );
  }

  /**
   * Copies the plan's rows into the tables of a catalog.
   * @param path of the catalog's database, whose tables exist and are empty
   */
  copyToCatalog(path: string): void {
    this.#database.prepare('ATTACH ? AS catalog').run(path);
    try {
      this.#database.pragma('catalog.journal_mode = OFF');
      this.#database.pragma('catalog.synchronous = OFF');
      const copies = this.isDelta ? [...catalogCopies, ...deltaCopies] : catalogCopies;
      for (const copy of copies) this.#database.exec(copy);
    } finally {
      this.#database.exec('DETACH catalog');
    }
  }
}

function* pages<Row extends PlacedBlob>(read: (after: number) => readonly Row[]): Iterable<readonly Row[]> {
  for (let after = 0; ;) {
    const rows = read(after);
    yield rows;
    after = rows.at(-1)?.ordinal ?? 0;
    if (rows.length < pageRows) return;
  }
}

import { open, rm } from 'node:fs/promises';
import type Database from 'better-sqlite3';
import { subjectOfTag } from '../../oci/companion-tag.js';
import { parseReference } from '../../oci/reference.js';
import { catalogIndexes, catalogTables, catalogViews } from '../format/catalog-schema.js';
import { applicationId, formatVersion } from '../format/format.js';
import { journalError } from '../journal/journal-database.js';
import type { Journal } from '../journal/journal.js';
import { openDatabase } from '../format/sqlite.js';

const pageSize = 4096;

/** Copies the laid-out plan in a fixed order. `ordinal` becomes the blob's id. */
const copies = [
  `INSERT INTO catalog.blobs SELECT ordinal, digest, size, kind, "offset", left_out FROM blobs
    WHERE size IS NOT NULL ORDER BY ordinal`,
  `INSERT INTO catalog.manifests
    SELECT blobs.ordinal, manifests.media_type, artifact_type, subject, os, architecture, variant, os_version, os_features
    FROM manifests JOIN blobs ON blobs.id = manifests.blob ORDER BY blobs.ordinal`,
  `INSERT INTO catalog.edges
    SELECT parent.ordinal, role, position, child.ordinal
    FROM edges JOIN blobs AS parent ON parent.id = edges.parent JOIN blobs AS child ON child.id = edges.child
    WHERE child.size IS NOT NULL ORDER BY 1, 2, 3`,
  // A referrer is reached from what it refers to, so that it goes wherever that goes.
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

/**
 * Writes the catalog of a laid-out plan to a file of its own, the same bytes for the same plan.
 * @param about what the `about` table says, by name
 * @throws AirliftError `no-space`, `io`
 */
export async function buildCatalog(
  journal: Journal,
  path: string,
  about: Readonly<Record<string, string>>,
): Promise<void> {
  await rm(path, { force: true });
  try {
    const catalog = openDatabase(path);
    catalog.pragma(`page_size = ${pageSize}`);
    catalog.pragma('journal_mode = OFF');
    catalog.pragma('synchronous = OFF');
    catalog.pragma(`application_id = ${applicationId}`);
    catalog.pragma(`user_version = ${formatVersion}`);
    catalog.exec(catalogTables.join(';\n'));
    const insert = catalog.prepare('INSERT INTO about VALUES (?, ?)');
    for (const name of Object.keys(about).sort()) insert.run(name, about[name]);
    catalog.close();
    copyPlan(journal.database, path);
    const indexed = openDatabase(path);
    indexed.pragma('journal_mode = OFF');
    indexed.pragma('synchronous = OFF');
    indexed.exec([...catalogIndexes, ...catalogViews].join(';\n'));
    indexed.exec('VACUUM');
    indexed.close();
  } catch (error) {
    throw journalError(`write ${path}`, error);
  }
  await settleHeader(path);
}

function copyPlan(database: Database.Database, path: string): void {
  database.prepare('ATTACH ? AS catalog').run(path);
  try {
    database.pragma('catalog.journal_mode = OFF');
    database.pragma('catalog.synchronous = OFF');
    // Whether a signature was asked for by its name or came with its image: to a reader it belongs to that image.
    database.function(
      'subject_of_tag',
      { deterministic: true },
      (reference: unknown) => subjectOfTag(parseReference(String(reference)).tag) ?? null,
    );
    for (const copy of copies) database.exec(copy);
  } finally {
    database.exec('DETACH catalog');
  }
}

/**
 * Makes the header say the same whichever release of SQLite wrote the file and however often it was changed: the change
 * counter and the "version-valid-for" that must equal it are 1, the writer's release is 3.8.2, the oldest that reads the
 * schema (SQLite, "Database File Format", 1.3).
 */
async function settleHeader(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const number = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    await file.write(number(1), 0, 4, 24);
    await file.write(number(1), 0, 4, 92);
    await file.write(number(3_008_002), 0, 4, 96);
  } finally {
    await file.close();
  }
}

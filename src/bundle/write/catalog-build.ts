import { open, rm } from 'node:fs/promises';
import { catalogIndexes, catalogTables, catalogViews } from '../format/catalog-schema.js';
import { applicationId, formatVersion } from '../format/format.js';
import { journalError } from '../journal/journal-database.js';
import type { Journal } from '../journal/journal.js';
import { openDatabase } from '../format/sqlite.js';

const pageSize = 4096;

/**
 * Writes the catalog of a laid-out plan to a file of its own. The same plan gives the same bytes.
 * @param about rows of the `about` table
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
    journal.placement.copyToCatalog(path);
    const indexed = openDatabase(path);
    indexed.pragma('journal_mode = OFF');
    indexed.pragma('synchronous = OFF');
    indexed.exec([...catalogIndexes, ...catalogViews].join(';\n'));
    indexed.exec('VACUUM');
    indexed.close();
  } catch (error) {
    throw journalError(`write ${path}`, error);
  }
  await normalizeHeader(path);
}

/**
 * Makes the header independent of the SQLite release and of the number of changes: sets the change counter and "version-valid-for",
 * which must equal it, to 1, and the writer's release to 3.8.2, the oldest that reads the schema (SQLite, "Database File Format",
 * 1.3).
 */
async function normalizeHeader(path: string): Promise<void> {
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

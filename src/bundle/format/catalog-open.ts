import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Database } from './database.js';
import { AirliftError, messageOf } from '../../errors.js';
import { catalogIndexes, catalogViews, tablesOf } from './catalog-schema.js';
import type { TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import { ioError } from './io-error.js';
import { applicationId, catalogPageSize, deltaVersion, formatVersion, headLimits } from './format.js';
import { openDatabase } from './sqlite.js';

/** The largest catalog that is opened in memory (bytes); a larger one is copied to a temporary file. */
const memoryLimit = 16 * 1024 * 1024;

/** Where a catalog is in a file. */
type CatalogPlace = Pick<TarEntry, 'contentPosition' | 'size'>;

/**
 * Opens the catalog's database, which is untrusted, and checks its header, schema and integrity.
 * @param maxInMemory the largest catalog to open in memory (bytes)
 * @throws AirliftError `damaged`, `unsupported` if a newer airlift wrote it, `no-space` or `io` in the temporary directory
 */
export async function openCatalogDatabase(
  file: BundleFile,
  entry: CatalogPlace,
  maxInMemory = memoryLimit,
): Promise<Database> {
  const attempted = `open the catalog of ${file.path}`;
  if (entry.size > headLimits.catalog)
    throw new AirliftError(
      'damaged',
      `${attempted}: too large; got ${entry.size} bytes, want at most ${headLimits.catalog}`,
    );
  let database: Database | undefined;
  try {
    database = await load(file, entry, maxInMemory);
    // A hostile schema must not run functions or write anything.
    database.pragma('trusted_schema = OFF');
    database.pragma('query_only = ON');
    database.pragma('cell_size_check = ON');
    database.pragma('cache_size = -8000');
    const application = database.pragma('application_id', { simple: true });
    const version = database.pragma('user_version', { simple: true }) as number;
    if (application !== applicationId)
      throw new AirliftError(
        'damaged',
        `${attempted}: not a catalog; got application id ${String(application)}, want ${applicationId}`,
      );
    if (version !== formatVersion && version !== deltaVersion) {
      throw new AirliftError(
        'unsupported',
        `${attempted}: unknown format version; got ${version}, want ${formatVersion} or ${deltaVersion}`,
        {
          hint:
            version > deltaVersion
              ? 'use the airlift version that wrote this bundle, or a newer one; where it is installed, airlift kit writes it to a medium'
              : undefined,
        },
      );
    }
    checkSchema(database, version, attempted);
    checkPages(database, entry, attempted);
    // The integrity check also compares indexes with their tables: SQLite may answer a query from either.
    const check = database.pragma('integrity_check(1)', { simple: true });
    if (check !== 'ok') throw new AirliftError('damaged', `${attempted}: ${String(check)}`);
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof AirliftError) throw error;
    throw new AirliftError('damaged', `${attempted}: ${messageOf(error)}`, { cause: error });
  }
}

async function load(file: BundleFile, entry: CatalogPlace, maxInMemory: number): Promise<Database> {
  if (entry.size <= maxInMemory) {
    const bytes = await file.read(entry.contentPosition, entry.size);
    checkHeader(bytes, entry);
    return openDatabase(bytes);
  }
  checkHeader(await file.read(entry.contentPosition, 100), { size: 100 });
  const directory = await temporaryDirectory(file.path);
  try {
    const path = join(directory, 'catalog.db');
    try {
      await pipeline(
        file.stream(entry.contentPosition, entry.size, { reusesMemory: true }),
        createWriteStream(path, { mode: 0o600 }),
      );
    } catch (error) {
      throw ioError(`copy the catalog of ${file.path} to ${path}`, error);
    }
    const database = openDatabase(path, { readonly: true });
    // SQLite opens the file at the first use. From then on, systems that allow it can remove the file's name.
    database.pragma('schema_version');
    return database;
  } finally {
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** @throws AirliftError `no-space` or `io`, not `damaged`: the bundle is not the cause */
async function temporaryDirectory(bundle: string): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'airlift-'));
  } catch (cause) {
    const { code, message } = ioError(`copy the catalog of ${bundle} into ${tmpdir()}`, cause);
    throw new AirliftError(code, message, {
      cause,
      hint: 'set TMPDIR to a writable directory with room for the catalog',
    });
  }
}

/** Checks the header of the database: it must be in rollback-journal mode, since reading in WAL mode writes files beside the database. */
function checkHeader(bytes: Buffer, want: { size: number }): void {
  if (bytes.length < Math.max(100, want.size)) throw new Error('cut off');
  if (bytes.toString('latin1', 0, 16) !== 'SQLite format 3\0') throw new Error('not an SQLite database');
  if (bytes[18] !== 1 || bytes[19] !== 1) throw new Error('not in rollback-journal mode');
}

/** Checks that the schema is that of the format, in its order, and that the file holds nothing else. */
function checkSchema(database: Database, version: number, attempted: string): void {
  const want = [...tablesOf(version), ...catalogIndexes, ...catalogViews];
  const rows = database
    .prepare('SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid')
    .raw()
    .iterate() as Iterable<readonly unknown[]>;
  const fail = (): never => {
    throw new AirliftError('damaged', `${attempted}: its schema differs from format version ${version}`);
  };
  let count = 0;
  for (const [type, name, sql] of rows) {
    const [, wantType, wantName] = /^CREATE (?:UNIQUE )?(\w+) (\w+)/.exec(want[count] ?? '') ?? [];
    if (sql !== want[count] || type !== wantType?.toLowerCase() || name !== wantName) fail();
    count++;
  }
  if (count !== want.length) fail();
}

/** Checks that the database has the pages of its file, all of them in use. */
function checkPages(database: Database, { size }: Pick<CatalogPlace, 'size'>, attempted: string): void {
  const value = (name: string): unknown => database.pragma(name, { simple: true });
  const got = [
    value('page_size'),
    value('page_count'),
    value('freelist_count'),
    value('auto_vacuum'),
    value('encoding'),
  ];
  const want = [catalogPageSize, size / catalogPageSize, 0, 0, 'UTF-8'];
  if (got.some((part, at) => part !== want[at]))
    throw new AirliftError(
      'damaged',
      `${attempted}: its pages differ from the format; got ${got.join(', ')}, want ${want.join(', ')}`,
    );
}

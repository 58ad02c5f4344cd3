import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type Database from 'better-sqlite3';
import { AirliftError, messageOf } from '../../errors.js';
import { catalogIndexes, catalogTables, catalogViews } from './catalog-schema.js';
import type { TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import { ioError } from './io-error.js';
import { applicationId, formatVersion, headLimits } from './format.js';
import { openDatabase } from './sqlite.js';

/** A catalog up to this size is opened from memory, a larger one from a temporary file. */
const memoryLimit = 16 * 1024 * 1024;

const schema = new Set([...catalogTables, ...catalogIndexes, ...catalogViews]);

/**
 * Opens the catalog's database and checks that it is one: whatever stands in it came from outside.
 * @throws AirliftError `damaged`, `unsupported` where a newer airlift wrote it, `no-space` or `io` in the temporary directory
 */
export async function openCatalogDatabase(
  file: BundleFile,
  entry: TarEntry,
  mostInMemory = memoryLimit,
): Promise<Database.Database> {
  const attempted = `open the catalog of ${file.path}`;
  if (entry.size > headLimits.catalog)
    throw new AirliftError(
      'damaged',
      `${attempted}: too large; got ${entry.size} bytes, want at most ${headLimits.catalog}`,
    );
  let database: Database.Database | undefined;
  try {
    database = await load(file, entry, mostInMemory);
    // A hostile schema runs no functions, and nothing is ever written.
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
    if (version !== formatVersion) {
      throw new AirliftError(
        'unsupported',
        `${attempted}: format version not known; got ${version}, want ${formatVersion}`,
        {
          hint:
            version > formatVersion
              ? 'a newer airlift wrote this bundle: use that or a newer one'
              : undefined,
        },
      );
    }
    checkSchema(database, attempted);
    // Indexes are compared with their tables, too: a query may be answered from either.
    const check = database.pragma('integrity_check(1)', { simple: true });
    if (check !== 'ok') throw new AirliftError('damaged', `${attempted}: ${String(check)}`);
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof AirliftError) throw error;
    throw new AirliftError('damaged', `${attempted}: ${messageOf(error)}`, { cause: error });
  }
}

async function load(file: BundleFile, entry: TarEntry, mostInMemory: number): Promise<Database.Database> {
  if (entry.size <= mostInMemory) {
    const bytes = await file.read(entry.contentPosition, entry.size);
    checkBegin(bytes, entry);
    return openDatabase(bytes);
  }
  checkBegin(await file.read(entry.contentPosition, 100), { size: 100 });
  const directory = await temporaryDirectory(file.path);
  try {
    const path = join(directory, 'catalog.db');
    try {
      await pipeline(
        file.stream(entry.contentPosition, entry.size),
        createWriteStream(path, { mode: 0o600 }),
      );
    } catch (error) {
      throw ioError(`copy the catalog of ${file.path} to ${path}`, error);
    }
    const database = openDatabase(path, { readonly: true });
    // SQLite opens the file at the first use; from then on its name is not needed where the system lets it go.
    database.pragma('schema_version');
    return database;
  } finally {
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** @throws AirliftError `no-space` or `io`: the bundle is not to blame */
async function temporaryDirectory(bundle: string): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'airlift-'));
  } catch (cause) {
    const { code, message } = ioError(`copy the catalog of ${bundle} into ${tmpdir()}`, cause);
    throw new AirliftError(code, message, {
      cause,
      hint: 'set TMPDIR to a directory that can be written and has room for the catalog',
    });
  }
}

/** SQLite's begin, in rollback-journal mode: a database in WAL mode can't be read without writing beside it. */
function checkBegin(bytes: Buffer, want: { size: number }): void {
  if (bytes.length < Math.max(100, want.size)) throw new Error('cut off');
  if (bytes.toString('latin1', 0, 16) !== 'SQLite format 3\0') throw new Error('not an SQLite database');
  if (bytes[18] !== 1 || bytes[19] !== 1) throw new Error('not in rollback-journal mode');
}

function checkSchema(database: Database.Database, attempted: string): void {
  const rows = database
    .prepare('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL')
    .pluck()
    .iterate() as Iterable<unknown>;
  let count = 0;
  for (const sql of rows) {
    if (typeof sql !== 'string' || !schema.has(sql))
      throw new AirliftError(
        'damaged',
        `${attempted}: its schema is not that of format version ${formatVersion}`,
      );
    count++;
  }
  if (count !== schema.size)
    throw new AirliftError(
      'damaged',
      `${attempted}: its schema is not whole; got ${count} parts, want ${schema.size}`,
    );
}

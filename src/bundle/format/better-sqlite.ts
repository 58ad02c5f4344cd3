import BetterSqlite from 'better-sqlite3';
import { messageOf, systemCodeOf } from '../../errors.js';
import type { Database, DatabaseOptions } from './database.js';

/**
 * Every object of better-sqlite3 that was created, so that none is ever garbage-collected. From Node 24.19 on, a process aborts if an object
 * of better-sqlite3 12 is collected while no JavaScript runs, because its base class then asks for an environment that does not exist. The
 * objects are small once their database is closed; code that repeats a statement prepares it once.
 *
 * This workaround goes when airlift drops Node 20 (end of life: April 2026): version 12 is the last that runs on it, 13 needs Node 22.
 */
const kept: unknown[] = [];

function keep<T>(object: T): T {
  kept.push(object);
  return object;
}

function keepIterators(statement: BetterSqlite.Statement): BetterSqlite.Statement {
  const iterate = statement.iterate.bind(statement);
  statement.iterate = (...parameters) => keep(iterate(...parameters));
  return statement;
}

/**
 * Opens a database with better-sqlite3. Its statements and iterators outlive their use.
 * @returns the error instead, if the native part of better-sqlite3 cannot be loaded
 * @throws SqliteError
 */
export function openWithBetterSqlite(
  source: string | Buffer,
  options: DatabaseOptions,
): Database | { notLoaded: unknown } {
  let database: BetterSqlite.Database;
  try {
    database = keep(new BetterSqlite(source, options));
  } catch (error) {
    // better-sqlite3 loads its native part at the first use.
    const notLoaded = ['ERR_DLOPEN_FAILED', 'MODULE_NOT_FOUND'];
    if (notLoaded.includes(systemCodeOf(error) ?? '') || /bindings file/.test(messageOf(error)))
      return { notLoaded: error };
    throw error;
  }
  const prepare = database.prepare.bind(database) as (sql: string) => BetterSqlite.Statement;
  const prepareKept = (sql: string): BetterSqlite.Statement => keepIterators(keep(prepare(sql)));
  const pragma = (sql: string, { simple = false }: BetterSqlite.PragmaOptions = {}): unknown => {
    const statement = prepareKept(`PRAGMA ${sql}`);
    if (!statement.reader) return statement.run();
    return simple ? statement.pluck().get() : statement.all();
  };
  return Object.assign(database, { prepare: prepareKept, pragma });
}

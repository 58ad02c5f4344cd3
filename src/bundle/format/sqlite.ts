import { AirliftError, messageOf } from '../../errors.js';
import { openWithBetterSqlite } from './better-sqlite.js';
import type { Database, DatabaseOptions } from './database.js';
import { hasBuiltinSqlite, openWithBuiltinSqlite } from './builtin-sqlite.js';

/**
 * Opens an SQLite database with better-sqlite3, or with Node's own SQLite where the native part of better-sqlite3 cannot be loaded.
 * @param source path, or the bytes of a database
 * @throws Error with the name of an SQLite result code as `code`; AirliftError `unsupported` where neither of the two is usable
 */
export function openDatabase(source: string | Buffer, options: DatabaseOptions = {}): Database {
  const opened = openWithBetterSqlite(source, options);
  if (!('notLoaded' in opened)) return opened;
  if (hasBuiltinSqlite()) return openWithBuiltinSqlite(source, options);
  throw new AirliftError(
    'unsupported',
    `load better-sqlite3: its native part is missing or built for another version of Node.js; got ${messageOf(opened.notLoaded).split('\n')[0]}`,
    {
      cause: opened.notLoaded,
      hint: 'run npm rebuild better-sqlite3 with the Node.js that runs airlift, or run airlift with Node.js 24.21 or later, which has SQLite',
    },
  );
}

/**
 * Yields the rows of a query and reads them page by page: no statement stays open, so that the connection is free to write.
 * @param pageRows the query's LIMIT
 * @param read runs the query for the rows that follow `last`, or for the first rows
 */
export function* pagedRows<Row>(pageRows: number, read: (last: Row | undefined) => unknown[]): Iterable<Row> {
  for (let last: Row | undefined; ;) {
    const rows = read(last) as Row[];
    yield* rows;
    if (rows.length < pageRows) return;
    last = rows.at(-1);
  }
}

import Database from 'better-sqlite3';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

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

function keepIterators(statement: Database.Statement): Database.Statement {
  const iterate = statement.iterate.bind(statement);
  statement.iterate = (...parameters) => keep(iterate(...parameters));
  return statement;
}

function connect(source: string | Buffer, options: Database.Options | undefined): Database.Database {
  try {
    return new Database(source, options);
  } catch (cause) {
    // better-sqlite3 loads its native part at the first use.
    const isLoading = systemCodeOf(cause) === 'ERR_DLOPEN_FAILED' || /bindings file/.test(messageOf(cause));
    if (!isLoading) throw cause;
    throw new AirliftError(
      'unsupported',
      `load better-sqlite3: its native part is missing or built for another version of Node.js; got ${messageOf(cause).split('\n')[0]}`,
      { cause, hint: 'run npm rebuild better-sqlite3 with the Node.js that runs airlift' },
    );
  }
}

/**
 * Opens an SQLite database whose statements and iterators outlive their use.
 * @param source path, or the bytes of a database
 * @throws SqliteError
 */
export function openDatabase(source: string | Buffer, options?: Database.Options): Database.Database {
  const database = keep(connect(source, options));
  const prepare = database.prepare.bind(database) as (sql: string) => Database.Statement;
  const prepareKept = (sql: string): Database.Statement => keepIterators(keep(prepare(sql)));
  const pragma = (sql: string, { simple = false }: Database.PragmaOptions = {}): unknown => {
    const statement = prepareKept(`PRAGMA ${sql}`);
    if (!statement.reader) return statement.run();
    return simple ? statement.pluck().get() : statement.all();
  };
  return Object.assign(database, { prepare: prepareKept, pragma });
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

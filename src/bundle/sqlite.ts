import Database from 'better-sqlite3';

/**
 * Every object of better-sqlite3 that was made. From Node 24.19 on a process aborts when one of its version 12 is collected
 * while no JavaScript runs (its base class asks for the environment then, and there is none): none is ever let go. They are
 * small once their database is closed; whoever asks the same again and again prepares it once.
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

/**
 * Opens an SQLite database whose statements and iterators outlive their use.
 * @param source path, or the bytes of a database
 * @throws SqliteError
 */
export function openDatabase(source: string | Buffer, options?: Database.Options): Database.Database {
  const database = keep(new Database(source, options));
  const prepare = database.prepare.bind(database) as (sql: string) => Database.Statement;
  const prepareKept = (sql: string): Database.Statement => keepIterators(keep(prepare(sql)));
  const pragma = (sql: string, { simple = false }: Database.PragmaOptions = {}): unknown => {
    const statement = prepareKept(`PRAGMA ${sql}`);
    if (!statement.reader) return statement.run();
    return simple ? statement.pluck().get() : statement.all();
  };
  return Object.assign(database, { prepare: prepareKept, pragma });
}

import Database from 'better-sqlite3';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

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

function connected(source: string | Buffer, options: Database.Options | undefined): Database.Database {
  try {
    return new Database(source, options);
  } catch (cause) {
    // better-sqlite3 looks for its native part at the first use.
    const isLoading = systemCodeOf(cause) === 'ERR_DLOPEN_FAILED' || /bindings file/.test(messageOf(cause));
    if (!isLoading) throw cause;
    throw new AirliftError(
      'unsupported',
      `load better-sqlite3: its native part is missing or of another version of Node.js; got ${messageOf(cause).split('\n')[0]}`,
      { cause, hint: 'npm rebuild better-sqlite3, with the Node.js that runs airlift' },
    );
  }
}

/**
 * Opens an SQLite database whose statements and iterators outlive their use.
 * @param source path, or the bytes of a database
 * @throws SqliteError
 */
export function openDatabase(source: string | Buffer, options?: Database.Options): Database.Database {
  const database = keep(connected(source, options));
  const prepare = database.prepare.bind(database) as (sql: string) => Database.Statement;
  const prepareKept = (sql: string): Database.Statement => keepIterators(keep(prepare(sql)));
  const pragma = (sql: string, { simple = false }: Database.PragmaOptions = {}): unknown => {
    const statement = prepareKept(`PRAGMA ${sql}`);
    if (!statement.reader) return statement.run();
    return simple ? statement.pluck().get() : statement.all();
  };
  return Object.assign(database, { prepare: prepareKept, pragma });
}

import { messageOf } from '../../errors.js';
import type { Database, DatabaseOptions, Statement } from './database.js';

/** The part of `node:sqlite` that airlift uses. The type declarations of Node 20, airlift's oldest, do not have it. */
interface BuiltinSqlite {
  readonly DatabaseSync: new (path: string, options: object) => BuiltinDatabase;
}
interface BuiltinDatabase {
  readonly isOpen: boolean;
  readonly isTransaction: boolean;
  prepare(sql: string): BuiltinStatement;
  exec(sql: string): void;
  function(name: string, options: object, compute: (argument: unknown) => unknown): void;
  deserialize(bytes: Uint8Array): void;
  close(): void;
}
interface BuiltinStatement {
  get(...parameters: readonly unknown[]): unknown;
  all(...parameters: readonly unknown[]): unknown[];
  iterate(...parameters: readonly unknown[]): IterableIterator<unknown>;
  run(...parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  setReturnArrays(enabled: boolean): void;
}

/** The names of SQLite's primary result codes by number ("Result and Error Codes", 3). */
const resultCodes = new Map<number, string>([
  [1, 'SQLITE_ERROR'],
  [2, 'SQLITE_INTERNAL'],
  [3, 'SQLITE_PERM'],
  [4, 'SQLITE_ABORT'],
  [5, 'SQLITE_BUSY'],
  [6, 'SQLITE_LOCKED'],
  [7, 'SQLITE_NOMEM'],
  [8, 'SQLITE_READONLY'],
  [9, 'SQLITE_INTERRUPT'],
  [10, 'SQLITE_IOERR'],
  [11, 'SQLITE_CORRUPT'],
  [12, 'SQLITE_NOTFOUND'],
  [13, 'SQLITE_FULL'],
  [14, 'SQLITE_CANTOPEN'],
  [15, 'SQLITE_PROTOCOL'],
  [17, 'SQLITE_SCHEMA'],
  [18, 'SQLITE_TOOBIG'],
  [19, 'SQLITE_CONSTRAINT'],
  [20, 'SQLITE_MISMATCH'],
  [21, 'SQLITE_MISUSE'],
  [23, 'SQLITE_AUTH'],
  [25, 'SQLITE_RANGE'],
  [26, 'SQLITE_NOTADB'],
]);

function builtin(): BuiltinSqlite | undefined {
  const found = process.getBuiltinModule('node:sqlite') as BuiltinSqlite | undefined;
  return found !== undefined && 'deserialize' in found.DatabaseSync.prototype ? found : undefined;
}

/** Returns whether this Node.js has an SQLite with all functions that airlift calls, as Node 24.21 has. */
export function hasBuiltinSqlite(): boolean {
  return builtin() !== undefined;
}

/** Calls `work`; an error of SQLite then has the name of its result code as `code`, as errors of better-sqlite3 have. */
function named<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const number = (cause as { errcode?: unknown }).errcode;
    // A number that does not fit into a JavaScript number can only come from a damaged row.
    const code = isTooLarge(cause)
      ? 'SQLITE_MISMATCH'
      : typeof number === 'number'
        ? resultCodes.get(number & 0xff)
        : undefined;
    throw code === undefined ? cause : Object.assign(new Error(messageOf(cause), { cause }), { code });
  }
}

function isTooLarge(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ERR_OUT_OF_RANGE';
}

/** Makes bytes a Buffer, and a row without a prototype a plain object. */
function asValue(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

function asRow(row: unknown): unknown {
  if (row === undefined) return undefined;
  if (Array.isArray(row)) return row.map(asValue);
  return Object.fromEntries(Object.entries(row as object).map(([name, value]) => [name, asValue(value)]));
}

const firstColumn = (row: unknown): unknown =>
  row === undefined ? undefined : asValue((row as unknown[])[0]);

class BuiltinSqliteStatement implements Statement {
  #read = asRow;

  constructor(private readonly statement: BuiltinStatement) {}

  pluck(): Statement {
    this.statement.setReturnArrays(true);
    this.#read = firstColumn;
    return this;
  }

  raw(): Statement {
    this.statement.setReturnArrays(true);
    return this;
  }

  get(...parameters: readonly unknown[]): unknown {
    return this.#read(named(() => this.statement.get(...parameters)));
  }

  all(...parameters: readonly unknown[]): unknown[] {
    return named(() => this.statement.all(...parameters)).map(this.#read);
  }

  *iterate(...parameters: readonly unknown[]): IterableIterator<unknown> {
    const rows = named(() => this.statement.iterate(...parameters));
    try {
      for (let next = named(() => rows.next()); next.done !== true; next = named(() => rows.next()))
        yield this.#read(next.value);
    } finally {
      rows.return?.();
    }
  }

  run(...parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint } {
    return named(() => this.statement.run(...parameters));
  }
}

class BuiltinSqliteDatabase implements Database {
  constructor(private readonly database: BuiltinDatabase) {}

  get inTransaction(): boolean {
    return this.database.isTransaction;
  }

  prepare(sql: string): Statement {
    return new BuiltinSqliteStatement(named(() => this.database.prepare(sql)));
  }

  exec(sql: string): void {
    named(() => this.database.exec(sql));
  }

  pragma(sql: string, { simple = false }: { simple?: boolean } = {}): unknown {
    const statement = this.prepare(`PRAGMA ${sql}`);
    return simple ? statement.pluck().get() : statement.all();
  }

  transaction(work: () => void): () => void {
    return () => {
      const isNested = this.inTransaction;
      this.exec(isNested ? 'SAVEPOINT nested' : 'BEGIN');
      try {
        work();
        this.exec(isNested ? 'RELEASE nested' : 'COMMIT');
      } catch (error) {
        // Some errors, such as a full disk, have rolled back already.
        if (this.inTransaction) this.exec(isNested ? 'ROLLBACK TO nested; RELEASE nested' : 'ROLLBACK');
        throw error;
      }
    };
  }

  function(
    name: string,
    options: { deterministic: boolean },
    compute: (argument: unknown) => string | number | null,
  ): void {
    this.database.function(name, options, compute);
  }

  close(): void {
    if (this.database.isOpen) this.database.close();
  }
}

/**
 * Opens a database with `node:sqlite`.
 * @throws Error with the name of an SQLite result code as `code`; TypeError where {@link hasBuiltinSqlite} is false
 */
export function openWithBuiltinSqlite(source: string | Buffer, options: DatabaseOptions): Database {
  const sqlite = builtin();
  if (sqlite === undefined) throw new TypeError('this Node.js has no usable SQLite');
  const isFile = typeof source === 'string';
  const database = named(
    () =>
      new sqlite.DatabaseSync(isFile ? source : ':memory:', {
        readOnly: options.readonly ?? false,
        timeout: options.timeout ?? 5000,
        // As better-sqlite3 does: a damaged catalog cannot make SQL change the schema.
        defensive: true,
      }),
  );
  if (!isFile) named(() => database.deserialize(source));
  return new BuiltinSqliteDatabase(database);
}

/**
 * A prepared statement. Its parameters are strings, numbers, null and bytes, in order, or one object with the values by name. Bytes are
 * returned as a Buffer. Methods throw errors whose `code` is the name of an SQLite result code, such as `SQLITE_FULL`.
 */
export interface Statement {
  /** Returns only the first column of each row from now on. */
  pluck(): Statement;
  /** Returns each row as an array from now on. */
  raw(): Statement;
  get(...parameters: readonly unknown[]): unknown;
  all(...parameters: readonly unknown[]): unknown[];
  iterate(...parameters: readonly unknown[]): IterableIterator<unknown>;
  run(...parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint };
}

/** An open database, of better-sqlite3 or of Node.js. Methods throw errors as {@link Statement} does. */
export interface Database {
  readonly inTransaction: boolean;
  prepare(sql: string): Statement;
  exec(sql: string): void;
  /** Runs a PRAGMA. `simple` returns the first column of the first row instead of all rows. */
  pragma(sql: string, options?: { simple?: boolean }): unknown;
  /** Returns a function that runs `work` in a transaction, which is rolled back if `work` throws. Transactions can be nested. */
  transaction(work: () => void): () => void;
  /** Defines a function for SQL. */
  function(
    name: string,
    options: { deterministic: boolean },
    compute: (argument: unknown) => string | number | null,
  ): void;
  close(): void;
}

/** Options for opening a database. */
export interface DatabaseOptions {
  /** Opens an existing database for reading only. Default: false. */
  readonly readonly?: boolean;
  /** How long to wait for a lock that another connection holds (milliseconds). Default: 5000. */
  readonly timeout?: number;
}

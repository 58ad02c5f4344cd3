import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Database } from '../format/database.js';
import { AirliftError, isAirliftError, messageOf, systemCodeOf } from '../../errors.js';
import { ioError, noSpaceHint } from '../format/io-error.js';
import { openDatabase } from '../format/sqlite.js';
import { journalSchema, journalVersion } from './journal-schema.js';

/**
 * Opens the database, locks it, and creates its tables if it is new.
 * @param prepare runs on the open database; if it throws, the database is closed
 * @throws AirliftError `busy`, `damaged` if it is no journal of this version, `no-space`, `io`
 */
export function connect<Tables>(path: string, prepare: (database: Database) => Tables): Tables {
  let database: Database | undefined;
  try {
    database = openDatabase(path, { timeout: 0 });
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = NORMAL');
    database.pragma('cache_size = -8000');
    // The first transaction takes the lock, which is held from then on.
    database.exec('BEGIN IMMEDIATE; COMMIT');
    if (database.pragma('user_version', { simple: true }) !== journalVersion) {
      if (database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() !== 0)
        throw new AirliftError('damaged', `open ${path}: not a journal of this version`);
      database.exec(`BEGIN; ${journalSchema} PRAGMA user_version = ${journalVersion}; COMMIT`);
    }
    return prepare(database);
  } catch (error) {
    database?.close();
    // If the directory is missing, better-sqlite3 throws a TypeError of its own.
    if (/^SQLITE_(CANTOPEN|READONLY)/.test(systemCodeOf(error) ?? '') || error instanceof TypeError)
      throw cannotWrite(path, error);
    throw journalError(`open ${path}`, error);
  }
}

/** Finds out from the system why SQLite, which does not say, cannot open a file. */
function cannotWrite(path: string, cause: unknown): AirliftError {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    return ioError(`write into ${dirname(path)}`, error);
  }
  return journalError(`open ${path}`, cause);
}

/**
 * Empties a journal without releasing its lock.
 * @returns false if the database is too damaged to be emptied
 */
export function emptyDatabase(database: Database): boolean {
  try {
    if (database.inTransaction) database.exec('ROLLBACK');
    if (database.pragma('integrity_check(1)', { simple: true }) !== 'ok') return false;
    const tables = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .pluck()
      .all() as string[];
    const drops = tables.map((name) => `DROP TABLE "${name.replaceAll('"', '""')}";`).join(' ');
    database.exec(`BEGIN; ${drops} ${journalSchema} COMMIT`);
    return true;
  } catch (error) {
    if (isAirliftError(journalError('', error), 'damaged')) return false;
    throw error;
  }
}

/** Converts what SQLite throws to an AirliftError. */
export function journalError(attempted: string, cause: unknown): AirliftError {
  if (cause instanceof AirliftError) return cause;
  const code = systemCodeOf(cause) ?? '';
  const text = messageOf(cause);
  if (code.startsWith('SQLITE_BUSY'))
    return new AirliftError('busy', `${attempted}: in use by another run`, { cause });
  if (code === 'SQLITE_FULL')
    return new AirliftError('no-space', `${attempted}: no space left on the device`, {
      cause,
      hint: noSpaceHint,
    });
  // The SQL is right, so that errors in it come from a damaged schema or damaged rows. A journal that was writable when it was opened is
  // read-only only if its header says so.
  const isDamage = /^SQLITE_(NOTADB|CORRUPT|ERROR|CONSTRAINT|MISMATCH|READONLY)/.test(code);
  return new AirliftError(isDamage ? 'damaged' : 'io', `${attempted}: ${text}`, { cause });
}

import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type Database from 'better-sqlite3';
import { AirliftError, isAirliftError, messageOf, systemCodeOf } from '../../errors.js';
import { ioError, noSpaceHint } from '../format/io-error.js';
import { journalSchema, journalVersion } from './journal-schema.js';
import { prepareJournal, type JournalStatements } from './journal-statements.js';
import { openDatabase } from '../format/sqlite.js';

/** Opens the database, takes its lock, and makes the tables where there are none. */
export function connect(path: string): [Database.Database, JournalStatements] {
  let database: Database.Database | undefined;
  try {
    database = openDatabase(path, { timeout: 0 });
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = NORMAL');
    database.pragma('cache_size = -8000');
    // The lock is taken with the first transaction, and held from then on.
    database.exec('BEGIN IMMEDIATE; COMMIT');
    if (database.pragma('user_version', { simple: true }) !== journalVersion) {
      if (database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() !== 0)
        throw new AirliftError('damaged', `open ${path}: not a journal of this version`);
      database.exec(`BEGIN; ${journalSchema} PRAGMA user_version = ${journalVersion}; COMMIT`);
    }
    return [database, prepareJournal(database)];
  } catch (error) {
    database?.close();
    // Where the directory is missing, better-sqlite3 throws a TypeError of its own.
    if (systemCodeOf(error) === 'SQLITE_CANTOPEN' || error instanceof TypeError)
      throw cannotWrite(path, error);
    throw journalError(`open ${path}`, error);
  }
}

/** SQLite says only that it cannot open a file; the system says why. */
function cannotWrite(path: string, cause: unknown): AirliftError {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    return ioError(`write into ${dirname(path)}`, error);
  }
  return new AirliftError('io', `open ${path}: ${messageOf(cause)}`, { cause });
}

/** Takes everything out of a journal without letting go of its lock. Gives false where it is too damaged for that. */
export function empty(database: Database.Database): boolean {
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

/** Turns what SQLite throws into an AirliftError. */
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
  // A broken schema shows as an error in SQL that is right.
  const isDamage = /^SQLITE_(NOTADB|CORRUPT|ERROR|CONSTRAINT|MISMATCH)/.test(code);
  return new AirliftError(isDamage ? 'damaged' : 'io', `${attempted}: ${text}`, { cause });
}

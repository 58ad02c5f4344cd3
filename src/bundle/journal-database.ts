import Database from 'better-sqlite3';
import { AirliftError, isAirliftError, messageOf, systemCodeOf } from '../errors.js';
import { journalSchema, journalVersion } from './journal-schema.js';

const statements = {
  getMeta: 'SELECT value FROM meta WHERE name = ?',
  setMeta: 'INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)',
  blobId: 'SELECT id FROM blobs WHERE digest = ?',
  knownBlob: 'SELECT 1 FROM blobs WHERE digest = ? AND size IS NOT NULL AND left_out IS NULL',
  insertBlob: 'INSERT INTO blobs (digest) VALUES (?)',
  blobRow: 'SELECT size, kind FROM blobs WHERE id = ?',
  describeBlob: 'UPDATE blobs SET size = ?, kind = ? WHERE id = ?',
  placeBlob: `UPDATE blobs SET registry = ?, repository = ?, media_type = ?, urls = ?, left_out = NULL
      WHERE id = ? AND registry IS NULL`,
  leaveOut: `UPDATE blobs SET left_out = ?, media_type = ? WHERE id = ? AND registry IS NULL
      AND NOT EXISTS (SELECT 1 FROM contents WHERE blob = id)`,
  insertContent: 'INSERT OR IGNORE INTO contents (blob, bytes) VALUES (?, ?)',
  carry: 'UPDATE blobs SET left_out = NULL WHERE id = ?',
  // Where descriptors differ in what they say of one manifest, the least text wins: the order of adding must not matter.
  insertManifest: `INSERT INTO manifests (blob, media_type, artifact_type, subject) VALUES (?, ?, ?, ?)
      ON CONFLICT (blob) DO UPDATE SET media_type = min(media_type, excluded.media_type)`,
  setPlatform: `UPDATE manifests SET platform = @platform, os = @os, architecture = @architecture, variant = @variant,
        os_version = @osVersion, os_features = @osFeatures
      WHERE blob = @id AND (platform IS NULL OR @platform < platform)`,
  insertEdge: 'INSERT OR IGNORE INTO edges (parent, role, position, child) VALUES (?, ?, ?, ?)',
  imageRoot: 'SELECT root FROM images WHERE reference = ?',
  insertImage: 'INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?)',
  mark: `INSERT INTO marks (blob, have, done) SELECT id, min(?, size), ? FROM blobs WHERE digest = ?
      ON CONFLICT (blob) DO UPDATE SET have = excluded.have, done = excluded.done`,
} as const;

/** Those of them that give one value. */
const single: ReadonlySet<string> = new Set(['getMeta', 'blobId', 'knownBlob', 'imageRoot']);

export type JournalStatements = Record<keyof typeof statements, Database.Statement>;

/** Opens the database, takes its lock, and makes the tables where there are none. */
export function connect(path: string): [Database.Database, JournalStatements] {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
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
    return [database, prepare(database)];
  } catch (error) {
    database?.close();
    throw journalError(`open ${path}`, error);
  }
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

function prepare(database: Database.Database): JournalStatements {
  const prepared = Object.entries(statements).map(([name, sql]) => {
    const statement = database.prepare(sql);
    return [name, single.has(name) ? statement.pluck() : statement];
  });
  return Object.fromEntries(prepared) as JournalStatements;
}

/** Turns what SQLite throws into an AirliftError. */
export function journalError(attempted: string, cause: unknown): AirliftError {
  if (cause instanceof AirliftError) return cause;
  const code = systemCodeOf(cause) ?? '';
  const text = messageOf(cause);
  if (code.startsWith('SQLITE_BUSY'))
    return new AirliftError('busy', `${attempted}: in use by another run`, { cause });
  if (code === 'SQLITE_FULL')
    return new AirliftError('no-space', `${attempted}: no space left on the device`, { cause });
  // A broken schema shows as an error in SQL that is right.
  const isDamage = /^SQLITE_(NOTADB|CORRUPT|ERROR|CONSTRAINT|MISMATCH)/.test(code);
  return new AirliftError(isDamage ? 'damaged' : 'io', `${attempted}: ${text}`, { cause });
}

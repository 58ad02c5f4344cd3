import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { BundleReader } from '../../../src/bundle/reader.js';
import type { Database } from '../../../src/bundle/format/database.js';
import { openDatabase } from '../../../src/bundle/format/sqlite.js';

/**
 * Changes the catalog of a bundle and updates `SHA256SUMS`, as an attacker would. The catalog must keep its size.
 */
export async function tamper(path: string, change: (catalog: Buffer) => Buffer): Promise<void> {
  const reader = await BundleReader.open(path);
  const { entries } = reader.head;
  await reader.close();
  const entry = entries.get('airlift/catalog.db');
  const sums = entries.get('airlift/SHA256SUMS');
  if (entry === undefined || sums === undefined) throw new Error('no bundle');
  const bytes = readFileSync(path);
  const before = Buffer.from(bytes.subarray(entry.contentPosition, entry.contentPosition + entry.size));
  const after = change(Buffer.from(before));
  if (after.length !== entry.size)
    throw new Error(`the catalog has another size: ${after.length}, not ${entry.size}`);
  after.copy(bytes, entry.contentPosition);
  const hex = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
  const at = bytes.indexOf(hex(before), sums.contentPosition);
  bytes.write(hex(after), at, 'latin1');
  writeFileSync(path, bytes);
}

interface Defended {
  /** Of better-sqlite3. */
  unsafeMode?: () => unknown;
  /** Of `node:sqlite`. */
  database?: { enableDefensive: (enabled: boolean) => void };
}

/** Opens a database whose schema can be changed by `writable_schema`, which the defensive mode of SQLite forbids. */
export function openForTampering(path: string): Database {
  const database = openDatabase(path);
  const { unsafeMode, database: inner } = database as Defended;
  if (inner === undefined) unsafeMode?.call(database);
  else inner.enableDefensive(false);
  return database;
}

/** Changes the catalog by SQL. */
export async function tamperBySql(path: string, sql: string): Promise<void> {
  await tamper(path, (before) => {
    const file = `${path}.tampered`;
    writeFileSync(file, before);
    const database = openForTampering(file);
    database.pragma('writable_schema = ON');
    database.pragma('ignore_check_constraints = ON');
    database.pragma('foreign_keys = OFF');
    database.exec(sql);
    database.close();
    const after = readFileSync(file);
    rmSync(file);
    return after;
  });
}

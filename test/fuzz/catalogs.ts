/** Random changes of catalogs, and whether two catalogs say the same. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Database } from '../../src/bundle/format/database.js';
import { openDatabase } from '../../src/bundle/format/sqlite.js';
import { openForTampering } from '../bundle/verify/tamper.js';
import type { Dice } from '../torture/dice.js';

type Row = Record<string, unknown>;

/** Returns other text of the same length. */
export function otherText(dice: Dice, text: string): string {
  if (text === '') return text;
  const at = dice.between(0, text.length - 1);
  const by = dice.pick(['a', '0', '/', ' ', '9', '\n', '\u0000', 'Z']);
  return text.slice(0, at) + by + text.slice(at + 1);
}

function otherValue(dice: Dice, value: unknown, another: unknown): unknown {
  return dice.pick<unknown>([
    null,
    another,
    typeof value === 'string' ? otherText(dice, value) : Number(value) + dice.between(-2, 2),
    typeof value === 'string'
      ? dice.pick([value.toUpperCase(), ` ${value}`, `${value}\u0000x`])
      : String(value),
    dice.pick<unknown>(['', 'x', -1, 0, 2 ** 53, 1.5, '[]', '{"a":1}', Buffer.from([1])]),
  ]);
}

/** Changes a cell, deletes a row, adds a row like another, or exchanges the cells of two rows. */
function changeRows(dice: Dice, database: Database): void {
  const tables = database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    .pluck()
    .all() as string[];
  const filled = tables.filter((table) => database.prepare(`SELECT 1 FROM "${table}"`).get() !== undefined);
  const table = dice.pick(filled as [string, ...string[]]);
  const rows = database.prepare(`SELECT * FROM "${table}"`).all() as [Row, ...Row[]];
  const row = dice.pick(rows);
  const another = dice.pick(rows);
  const columns = Object.keys(row) as [string, ...string[]];
  const where = columns.map((column) => `"${column}" IS ?`).join(' AND ');
  const valuesOf = (of: Row): unknown[] => columns.map((column) => of[column]);
  const column = dice.pick(columns);
  const set = (of: Row, value: unknown): void => {
    database.prepare(`UPDATE "${table}" SET "${column}" = ? WHERE ${where}`).run(value, ...valuesOf(of));
  };
  const kind = dice.roll();
  if (kind < 0.15) database.prepare(`DELETE FROM "${table}" WHERE ${where}`).run(...valuesOf(row));
  else if (kind < 0.3) {
    const added = { ...row, [column]: otherValue(dice, row[column], another[column]) };
    const places = columns.map(() => '?').join(', ');
    database.prepare(`INSERT INTO "${table}" VALUES (${places})`).run(...valuesOf(added));
  } else if (kind < 0.45) {
    set(row, another[column]);
    set(another, row[column]);
  } else set(row, otherValue(dice, row[column], another[column]));
}

/** Changes of what is around the rows: the schema, the pages, the header. */
export const surroundings = [
  'CREATE TABLE more (x)',
  'CREATE VIEW more AS SELECT 1',
  'CREATE INDEX more ON blobs (size)',
  'CREATE TRIGGER more AFTER INSERT ON about BEGIN SELECT 1; END',
  'ALTER TABLE blobs ADD COLUMN more',
  'ALTER TABLE images RENAME COLUMN original TO whole',
  'ALTER TABLE volumes RENAME TO parts',
  'DROP VIEW entries',
  'DROP INDEX edges_by_child',
  'DROP TABLE volumes',
  'PRAGMA user_version = 2',
  'PRAGMA user_version = 3',
  'PRAGMA application_id = 1',
  'PRAGMA auto_vacuum = 1; VACUUM',
  'PRAGMA page_size = 8192; VACUUM',
  "UPDATE sqlite_schema SET name = 'more' WHERE name = 'entries'",
  "UPDATE sqlite_schema SET type = 'table' WHERE name = 'entries'",
  "UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'entries'",
  'CREATE TABLE more (x); DROP TABLE more',
  'DELETE FROM edges',
] as const;

/** Applies a change to a copy of a catalog; returns the catalog itself if SQLite rejects the change. */
function changed(path: string, content: Buffer, change: (database: Database) => void): Buffer {
  const file = `${path}.catalog`;
  writeFileSync(file, content);
  const database = openForTampering(file);
  try {
    database.pragma('journal_mode = OFF');
    database.pragma('synchronous = OFF');
    database.pragma('writable_schema = ON');
    database.pragma('ignore_check_constraints = ON');
    database.pragma('foreign_keys = OFF');
    change(database);
  } catch (error) {
    assert.match(String(error), /constraint|datatype|cannot store|malformed|no such|error in/i);
    return content;
  } finally {
    database.close();
  }
  return readFileSync(file);
}

/** Changes rows of a catalog. */
export function changeCatalog(dice: Dice, path: string, content: Buffer): Buffer {
  return changed(path, content, (database) => changeRows(dice, database));
}

/** Changes a catalog by SQL, also its schema. */
export function changeBySql(path: string, content: Buffer, sql: string): Buffer {
  return changed(path, content, (database) => database.exec(sql));
}

/** Changes the schema, the pages or the header of a catalog, or a byte anywhere in it. */
export function changeSurroundings(dice: Dice, path: string, content: Buffer): Buffer {
  if (dice.isLucky(0.5)) {
    const bytes = Buffer.from(content);
    const at = dice.isLucky(0.2) ? dice.between(0, 99) : dice.between(0, bytes.length - 1);
    bytes[at] = dice.pick([0, 1, 255, (bytes[at] ?? 0) ^ (1 << dice.between(0, 7))]);
    return bytes;
  }
  return changeBySql(path, content, dice.pick(surroundings));
}

/** Tables of a delta that are for information: nothing in the bundle proves or contradicts them. */
const information = ['bases', 'places'];

/** Returns all that a catalog says: its schema and every value with its type; undefined if it cannot be read. */
export function textOfCatalog(content: Buffer): string | undefined {
  let database: Database | undefined;
  try {
    database = openDatabase(Buffer.from(content));
    const lines: unknown[] = ['user_version', 'application_id', 'encoding', 'page_size', 'page_count'].map(
      (name) => database?.pragma(name, { simple: true }),
    );
    const schema = database
      .prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid')
      .all() as {
      type: string;
      name: string;
    }[];
    lines.push(...schema);
    for (const { type, name } of schema) {
      if (type !== 'table' || information.includes(name)) continue;
      const columns = Object.keys(
        (database.prepare(`SELECT * FROM "${name}"`).get() as Row | undefined) ?? {},
      );
      if (columns.length === 0) continue;
      const values = columns.map((column) => `quote("${column}")`).join(" || ' ' || ");
      lines.push(name, ...database.prepare(`SELECT ${values} FROM "${name}"`).pluck().all());
    }
    return lines.map((line) => JSON.stringify(line)).join('\n');
  } catch {
    return undefined;
  } finally {
    database?.close();
  }
}

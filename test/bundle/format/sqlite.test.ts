import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openWithBetterSqlite } from '../../../src/bundle/format/better-sqlite.js';
import { hasBuiltinSqlite, openWithBuiltinSqlite } from '../../../src/bundle/format/builtin-sqlite.js';
import type { Database, DatabaseOptions } from '../../../src/bundle/format/database.js';
import { temp } from '../../support/temp.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

type Open = (source: string | Buffer, options: DatabaseOptions) => Database;

const openBetter: Open = (source, options) => {
  const opened = openWithBetterSqlite(source, options);
  assert.ok(!('notLoaded' in opened));
  return opened;
};

const noBetter =
  'notLoaded' in openWithBetterSqlite('', {})
    ? 'the native part of better-sqlite3 is not built for this Node.js'
    : false;

/** The engines of this Node.js: Node 20 has no SQLite of its own, and its `better-sqlite3` may not be built. */
const engines: (readonly [name: string, open: Open])[] = [];
if (noBetter === false) engines.push(['better-sqlite3', openBetter]);
if (hasBuiltinSqlite()) engines.push(['node:sqlite', openWithBuiltinSqlite]);

const fails = (code: string) => (error: unknown) => (error as { code?: unknown }).code === code;

test('at least one SQLite is usable', () => assert.notEqual(engines.length, 0));

for (const [name, open] of engines)
  describe(`SQLite of ${name}`, () => {
    test('statements return rows, columns and arrays, and bytes as buffers', () => {
      const database = open('', {});
      database.exec(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, bytes BLOB); INSERT INTO things VALUES (1, 'a', x'00ff')",
      );
      const insert = database.prepare('INSERT INTO things (name, bytes) VALUES (@name, @bytes)');
      const { changes, lastInsertRowid } = insert.run({ name: 'b', bytes: null });
      assert.deepEqual([Number(changes), Number(lastInsertRowid)], [1, 2]);
      const rows = [
        { id: 1, name: 'a', bytes: Buffer.from([0, 255]) },
        { id: 2, name: 'b', bytes: null },
      ];
      const all = database.prepare('SELECT * FROM things ORDER BY id');
      assert.deepEqual(all.all(), rows);
      assert.deepEqual([...all.iterate()], rows);
      assert.deepEqual(all.get(), rows[0]);
      const byName = database.prepare('SELECT name, id FROM things WHERE name >= ? ORDER BY id').raw();
      assert.deepEqual(byName.all('a'), [
        ['a', 1],
        ['b', 2],
      ]);
      const names = database.prepare('SELECT name FROM things ORDER BY id').pluck();
      assert.deepEqual([names.get(), names.all(), [...names.iterate()]], ['a', ['a', 'b'], ['a', 'b']]);
      assert.equal(database.prepare('SELECT id FROM things WHERE id = 9').pluck().get(), undefined);
      for (const first of names.iterate()) {
        assert.equal(first, 'a');
        break;
      }
      assert.equal(names.get(), 'a');
      database.pragma('user_version = 7');
      assert.equal(database.pragma('user_version', { simple: true }), 7);
      assert.deepEqual(database.pragma('user_version'), [{ user_version: 7 }]);
      database.function('twice', { deterministic: true }, (value) => Number(value) * 2);
      assert.equal(database.prepare('SELECT twice(21)').pluck().get(), 42);
      database.close();
      database.close();
    });

    test('a transaction is rolled back when its work throws', () => {
      const database = open('', {});
      database.exec('CREATE TABLE numbers (n UNIQUE)');
      const fill = database.transaction(() => {
        assert.equal(database.inTransaction, true);
        for (const n of [1, 2, 1]) database.prepare('INSERT INTO numbers VALUES (?)').run(n);
      });
      assert.throws(fill, (error) =>
        String((error as { code?: unknown }).code).startsWith('SQLITE_CONSTRAINT'),
      );
      assert.equal(database.inTransaction, false);
      assert.equal(database.prepare('SELECT count(*) FROM numbers').pluck().get(), 0);
      database.transaction(() => {
        database.exec('INSERT INTO numbers VALUES (1)');
        assert.throws(fill);
        database.transaction(() => database.exec('INSERT INTO numbers VALUES (7)'))();
      })();
      assert.deepEqual(database.prepare('SELECT n FROM numbers ORDER BY n').pluck().all(), [1, 7]);
      database.close();
    });

    test('errors carry the name of the result code', (t) => {
      const directory = temp(t);
      const path = join(directory, 'a.db');
      const holder = open(path, {});
      holder.exec('CREATE TABLE a (n); BEGIN IMMEDIATE');
      const other = open(path, { timeout: 0 });
      assert.throws(() => other.exec('BEGIN IMMEDIATE'), fails('SQLITE_BUSY'));
      other.close();
      holder.exec('ROLLBACK');
      assert.throws(() => holder.prepare('SELECT * FROM b'), fails('SQLITE_ERROR'));
      holder.pragma('max_page_count = 3');
      const insert = holder.prepare('INSERT INTO a VALUES (zeroblob(9000))');
      assert.throws(() => insert.run(), fails('SQLITE_FULL'));
      holder.close();
      const reader = open(path, { readonly: true });
      assert.throws(() => reader.exec('INSERT INTO a VALUES (1)'), fails('SQLITE_READONLY'));
      reader.close();
      writeFileSync(join(directory, 'text.db'), 'a'.repeat(4096));
      const text = open(join(directory, 'text.db'), {});
      assert.throws(() => text.prepare('SELECT * FROM sqlite_schema').all(), fails('SQLITE_NOTADB'));
      text.close();
      mkdirSync(join(directory, 'folder.db'));
      assert.throws(() => {
        open(join(directory, 'folder.db'), {}).exec('CREATE TABLE a (n)');
      }, fails('SQLITE_CANTOPEN'));
    });

    test('bytes are opened as a database', (t) => {
      const path = join(temp(t), 'a.db');
      const file = open(path, {});
      file.exec('CREATE TABLE a AS SELECT 5 AS n');
      file.close();
      const memory = open(readFileSync(path), {});
      assert.equal(memory.prepare('SELECT n FROM a').pluck().get(), 5);
      memory.pragma('query_only = ON');
      assert.throws(() => memory.exec('DROP TABLE a'), fails('SQLITE_READONLY'));
      memory.close();
    });
  });

// Node 24.19 and later abort if one is garbage-collected while no JavaScript runs.
test('no object of better-sqlite3 is ever collected', { skip: noBetter }, async () => {
  const use = (): WeakRef<object>[] => {
    const database = openBetter('', {});
    database.pragma('user_version = 7');
    assert.equal(database.pragma('user_version', { simple: true }), 7);
    assert.deepEqual(database.pragma('user_version'), [{ user_version: 7 }]);
    database.exec('CREATE TABLE numbers AS SELECT 1 AS n UNION SELECT 2');
    const statement = database.prepare('SELECT n FROM numbers ORDER BY n').pluck();
    const rows = statement.iterate();
    assert.deepEqual([...rows], [1, 2]);
    database.transaction(() => statement.all())();
    database.close();
    return [database, statement, rows].map((object) => new WeakRef<object>(object));
  };
  const references = use();
  await setImmediate();
  collect();
  assert.deepEqual(
    references.map((reference) => reference.deref() !== undefined),
    [true, true, true],
  );
});

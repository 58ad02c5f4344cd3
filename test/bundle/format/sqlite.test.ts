import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openDatabase } from '../../../src/bundle/format/sqlite.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

// Node 24.19 and later abort if one is garbage-collected while no JavaScript runs.
test('no object of the SQLite library is ever collected', async () => {
  const use = (): WeakRef<object>[] => {
    const database = openDatabase('');
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

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { BlobRecords } from '../../src/publish/blob-records.js';

const [app, web] = ['app', 'web'].map((text) => digestOf(Buffer.from(text)));
const [first, second, third] = ['first', 'second', 'third'].map((repository) => ({
  registry: 'site.test',
  repository,
}));

test('records of blobs keep apart who holds which blob, and which are planned', () => {
  assert.ok(app && web && first && second && third);
  const records = new BlobRecords();
  assert.deepEqual(records.holdersOf(app), []);
  records.addHolder(app, first);
  records.addHolder(web, first);
  assert.equal(records.plan(app), true);
  assert.equal(records.plan(app), false);
  assert.deepEqual(records.holdersOf(app), [first]);

  // The two blobs shared a list until now.
  records.addHolder(app, second);
  records.addHolder(app, third);
  records.addHolder(app, second);
  assert.deepEqual(records.holdersOf(app), [first, second, third]);
  assert.deepEqual(records.holdersOf(web), [first]);
  assert.equal(records.plan(app), false);
  assert.equal(records.plan(web), true);
  records.addHolder(web, first);
  assert.deepEqual(records.holdersOf(web), [first]);
});

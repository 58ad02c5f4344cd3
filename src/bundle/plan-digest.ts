import { createHash } from 'node:crypto';
import type { Journal } from './journal.js';

/** All that a plan says, in an order that does not change. Contents are hashed when they are used. */
const said = [
  "SELECT name, value FROM meta WHERE name IN ('fingerprint', 'created') ORDER BY name",
  `SELECT id, digest, size, kind, media_type, registry, repository, urls, left_out,
    EXISTS (SELECT 1 FROM contents WHERE blob = id) FROM blobs ORDER BY id`,
  'SELECT * FROM manifests ORDER BY blob',
  'SELECT * FROM edges ORDER BY parent, role, position',
  'SELECT * FROM images ORDER BY reference',
] as const;

/** A digest over a plan that is still to be laid out. A journal that gives another one is damaged. */
export function digestOfPlan(journal: Journal): string {
  const hash = createHash('sha256');
  for (const sql of said) {
    for (const row of journal.database.prepare(sql).raw().iterate()) hash.update(`${JSON.stringify(row)}\n`);
  }
  return hash.digest('hex');
}

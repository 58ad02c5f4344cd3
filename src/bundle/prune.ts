import type { Journal } from './journal.js';
import { bytesOnly } from './placement.js';

/**
 * The blobs that images of the plan reach, the referrers of those, and the signatures that are tagged for them. `edges_up`
 * finds what refers to a blob.
 */
const reached = `
  WITH RECURSIVE reached (id) AS (
    SELECT root FROM images WHERE companion_of IS NULL
    UNION SELECT id FROM (${bytesOnly})
    UNION SELECT child FROM reached CROSS JOIN edges ON parent = reached.id AND role <> 'subject'
      AND parent NOT IN (${bytesOnly})
    UNION SELECT parent FROM reached CROSS JOIN edges ON child = reached.id AND role = 'subject'
    UNION SELECT root FROM reached CROSS JOIN blobs ON blobs.id = reached.id
      CROSS JOIN images ON images.companion_of = blobs.digest
  )`;

/**
 * Takes out of the plan what belongs to no image: what was found of an image before it failed, and what an earlier plan had
 * and this one has not.
 */
export function prunePlan(journal: Journal): void {
  journal.database.transaction(() => {
    journal.database.exec(`
      CREATE INDEX IF NOT EXISTS edges_up ON edges (child) WHERE role = 'subject';
      CREATE INDEX IF NOT EXISTS images_by_companion ON images (companion_of) WHERE companion_of IS NOT NULL;
      CREATE TEMP TABLE kept AS ${reached} SELECT id FROM reached;
      CREATE UNIQUE INDEX temp.kept_by_id ON kept (id);
      DELETE FROM images WHERE companion_of NOT IN (SELECT digest FROM blobs WHERE id IN kept);
      DELETE FROM edges WHERE parent NOT IN kept OR child NOT IN kept;
      DELETE FROM manifests WHERE blob NOT IN kept;
      DELETE FROM contents WHERE blob NOT IN kept;
      DELETE FROM marks WHERE blob NOT IN kept;
      DELETE FROM checkpoints WHERE blob NOT IN kept;
      DELETE FROM blobs WHERE id NOT IN kept;
      DROP TABLE temp.kept;
    `);
  })();
}

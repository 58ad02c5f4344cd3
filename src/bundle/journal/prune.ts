import type { Database } from '../format/database.js';
import { parseManifest, platformOfConfig } from '../../oci/manifest.js';
import { isImageConfig } from '../../oci/media-types.js';
import { isUnknown, type Platform } from '../../oci/platform.js';
import { pagedRows } from '../format/sqlite.js';
import { bytesOnly } from './placement.js';

/** The blobs that images of the plan reach, their referrers, and the signatures that are tagged for them. */
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

/** Records the platform that an index or config states for a manifest. */
type AddPlatform = (manifest: number, platform: Platform) => void;

/**
 * Removes from the plan everything that belongs to no image: what planning found of an image before the image failed, and the leftovers
 * of an earlier plan. What remains gets the description that the remaining images give it, for `verify` compares the two.
 * @param isChanging the plan was laid out before and has changed since
 */
export function prunePlan(database: Database, isChanging: boolean, addPlatform: AddPlatform): void {
  database.transaction(() => {
    database.exec(`
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
      DELETE FROM places WHERE blob NOT IN kept;
      DELETE FROM blobs WHERE id NOT IN kept;
      DROP TABLE temp.kept;
      UPDATE blobs SET kind = 'layer' WHERE kind = 'config' AND id NOT IN (SELECT child FROM edges WHERE role = 'config');
    `);
    const hasFailures = database.prepare('SELECT EXISTS (SELECT 1 FROM failures)').pluck().get() === 1;
    if (hasFailures || isChanging) resetPlatforms(database, addPlatform);
  })();
}

interface Content {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/**
 * Sets the platforms of all manifests again, by the indexes and configs that are left: an image that was removed may have stated
 * others.
 */
function resetPlatforms(database: Database, addPlatform: AddPlatform): void {
  const contentOf = database.prepare(
    `SELECT digest, manifests.media_type AS mediaType, bytes FROM blobs JOIN contents ON contents.blob = id
      JOIN manifests ON manifests.blob = id WHERE id = ?`,
  );
  const configOf = database.prepare(
    `SELECT digest, blobs.media_type AS mediaType, bytes FROM edges JOIN blobs ON id = child JOIN contents ON contents.blob = id
      WHERE parent = ? AND role = 'config'`,
  );
  const idOf = database.prepare('SELECT id FROM blobs WHERE digest = ?').pluck();
  const add = (manifest: number, platform: Platform | undefined): void => {
    if (platform !== undefined && !isUnknown(platform)) addPlatform(manifest, platform);
  };
  const addFromConfig = (manifest: number): void => {
    const config = configOf.get(manifest) as Content | undefined;
    if (config !== undefined && isImageConfig(config.mediaType))
      add(manifest, platformOfConfig(config.bytes, `config ${config.digest}`));
  };
  database.exec(`UPDATE manifests SET platform = NULL, os = NULL, architecture = NULL, variant = NULL, os_version = NULL,
    os_features = NULL`);
  const indexes = `SELECT id FROM blobs WHERE kind = 'index' AND id NOT IN (${bytesOnly})`;
  for (const index of pagedIds(database, indexes)) {
    const content = contentOf.get(index) as Content | undefined;
    if (content === undefined) continue;
    const parsed = parseManifest(content.bytes, content.mediaType, `manifest ${content.digest}`);
    if (parsed.kind !== 'index') continue;
    for (const { digest, platform } of parsed.manifests) {
      const manifest = idOf.get(digest) as number | undefined;
      if (manifest === undefined) continue;
      if (platform === undefined) addFromConfig(manifest);
      else add(manifest, platform);
    }
  }
  // The platform of a manifest that no index names is that of its config.
  const roots = "SELECT root AS id FROM images UNION SELECT parent FROM edges WHERE role = 'subject'";
  for (const id of pagedIds(database, roots)) addFromConfig(id);
}

/** Ids per query. */
const pageRows = 1000;

/** Returns the ids that a query selects, in ascending order. */
function pagedIds(database: Database, select: string): Iterable<number> {
  const page = database
    .prepare(`SELECT id FROM (${select}) WHERE id > ? ORDER BY id LIMIT ${pageRows}`)
    .pluck();
  return pagedRows(pageRows, (last) => page.all(last ?? 0));
}

import { deltaVersion } from './format.js';

/**
 * The catalog's tables, format version 1. The schema is part of the bundle's format (docs/bundle-format.md): readers compare a catalog's
 * schema with this text, so every change needs a new format version.
 */
const catalogTables = [
  `CREATE TABLE about (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID`,
  `CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL CHECK (size >= 0),
  kind TEXT NOT NULL CHECK (kind IN ('index', 'manifest', 'config', 'layer')),
  content_offset INTEGER,
  left_out TEXT CHECK (left_out IS NULL OR content_offset IS NULL)
)`,
  `CREATE TABLE manifests (
  blob INTEGER PRIMARY KEY REFERENCES blobs (id),
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  subject TEXT,
  os TEXT,
  architecture TEXT,
  variant TEXT,
  os_version TEXT,
  os_features TEXT
)`,
  `CREATE TABLE edges (
  parent INTEGER NOT NULL REFERENCES manifests (blob),
  role TEXT NOT NULL,
  position INTEGER NOT NULL,
  child INTEGER NOT NULL REFERENCES blobs (id),
  PRIMARY KEY (parent, role, position)
) WITHOUT ROWID`,
  `CREATE TABLE images (
  id INTEGER PRIMARY KEY,
  reference TEXT NOT NULL,
  root INTEGER NOT NULL REFERENCES manifests (blob),
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  original INTEGER REFERENCES manifests (blob),
  companion_of TEXT
)`,
  `CREATE TABLE volumes (
  id INTEGER PRIMARY KEY,
  size INTEGER NOT NULL
)`,
];

/** The further tables of a delta, format version 2. */
const deltaTables = [
  `CREATE TABLE bases (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('receipt', 'sent', 'bundle')),
  registry TEXT,
  time TEXT NOT NULL,
  digest TEXT NOT NULL
)`,
  `CREATE TABLE places (
  blob INTEGER NOT NULL REFERENCES blobs (id),
  kind TEXT NOT NULL CHECK (kind IN ('site', 'source')),
  repository TEXT NOT NULL,
  PRIMARY KEY (blob, kind, repository)
) WITHOUT ROWID`,
];

/** Returns the tables of a format version, in the order in which they are created. */
export function tablesOf(version: number): readonly string[] {
  return version === deltaVersion ? [...catalogTables, ...deltaTables] : catalogTables;
}

/** Indexes, created after the rows are inserted, which packs their pages. */
export const catalogIndexes = [
  'CREATE UNIQUE INDEX blobs_by_digest ON blobs (digest)',
  'CREATE INDEX edges_by_child ON edges (child)',
  'CREATE UNIQUE INDEX images_by_reference ON images (reference)',
  'CREATE INDEX manifests_by_subject ON manifests (subject) WHERE subject IS NOT NULL',
];

/** Views for auditors, who need not know the tables. */
export const catalogViews = [
  `CREATE VIEW entries AS
  SELECT 'blobs/' || replace(digest, ':', '/') AS path, size, kind, digest, content_offset, left_out
  FROM blobs ORDER BY id`,
  `CREATE VIEW image_blobs AS
  WITH RECURSIVE tree (image, blob) AS (
    SELECT id, root FROM images
    UNION SELECT id, original FROM images WHERE original IS NOT NULL
    UNION SELECT tree.image, edges.child FROM tree CROSS JOIN edges ON edges.parent = tree.blob AND edges.role <> 'subject'
  )
  SELECT images.reference, blobs.kind, blobs.digest, blobs.size, blobs.left_out
  FROM tree CROSS JOIN images ON images.id = tree.image CROSS JOIN blobs ON blobs.id = tree.blob
  ORDER BY images.id, blobs.id`,
  `CREATE VIEW image_platforms AS
  WITH RECURSIVE tree (image, blob) AS (
    SELECT id, root FROM images
    UNION SELECT tree.image, edges.child FROM tree CROSS JOIN edges ON edges.parent = tree.blob AND edges.role = 'manifest'
  )
  SELECT images.reference,
    manifests.os || '/' || manifests.architecture || coalesce('/' || manifests.variant, '') AS platform,
    manifests.os_version, blobs.digest,
    blobs.size + (SELECT coalesce(sum(part.size), 0) FROM blobs AS part WHERE part.id IN (
      SELECT child FROM edges WHERE parent = blobs.id AND role IN ('config', 'layer'))) AS size
  FROM tree CROSS JOIN images ON images.id = tree.image CROSS JOIN manifests ON manifests.blob = tree.blob
    CROSS JOIN blobs ON blobs.id = tree.blob
  WHERE manifests.os IS NOT NULL AND blobs.kind = 'manifest'
  ORDER BY images.id, platform, blobs.id`,
];

import type Database from 'better-sqlite3';

/** Questions that are answered by one value. */
const values = {
  getMeta: 'SELECT value FROM meta WHERE name = ?',
  blobId: 'SELECT id FROM blobs WHERE digest = ?',
  knownBlob: 'SELECT 1 FROM blobs WHERE digest = ? AND size IS NOT NULL AND left_out IS NULL',
  imageRoot: 'SELECT root FROM images WHERE reference = ?',
  content: 'SELECT bytes FROM contents JOIN blobs ON blobs.id = contents.blob WHERE digest = ?',
} as const;

const others = {
  setMeta: 'INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)',
  insertBlob: 'INSERT INTO blobs (digest) VALUES (?)',
  blobRow: 'SELECT size, kind FROM blobs WHERE id = ?',
  describeBlob: 'UPDATE blobs SET size = ?, kind = ? WHERE id = ?',
  placeBlob: `UPDATE blobs SET registry = ?, repository = ?, media_type = ?, urls = ?, left_out = NULL
    WHERE id = ? AND registry IS NULL`,
  leaveOut: `UPDATE blobs SET left_out = ?, media_type = ? WHERE id = ? AND registry IS NULL
    AND NOT EXISTS (SELECT 1 FROM manifests WHERE blob = id)`,
  carry: 'UPDATE blobs SET left_out = NULL WHERE id = ?',
  insertContent: 'INSERT OR IGNORE INTO contents (blob, bytes) VALUES (?, ?)',
  dropContent: 'DELETE FROM contents WHERE blob = ?',
  // Where descriptors differ in what they say of one manifest, the least text wins: the order of adding must not matter.
  insertManifest: `INSERT INTO manifests (blob, media_type, artifact_type, subject) VALUES (?, ?, ?, ?)
    ON CONFLICT (blob) DO UPDATE SET media_type = min(media_type, excluded.media_type)`,
  setPlatform: `UPDATE manifests SET platform = @platform, os = @os, architecture = @architecture, variant = @variant,
      os_version = @osVersion, os_features = @osFeatures
    WHERE blob = @id AND (platform IS NULL OR @platform < platform)`,
  insertEdge: 'INSERT OR IGNORE INTO edges (parent, role, position, child) VALUES (?, ?, ?, ?)',
  // Who asked for a signature by its name gets it whatever becomes of what it signs.
  insertImage: `INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (reference) DO UPDATE SET companion_of = NULL WHERE excluded.companion_of IS NULL`,
  note: 'INSERT OR REPLACE INTO notes VALUES (?, ?)',
  noteFailure: 'INSERT OR REPLACE INTO failures (image, position, error, lost) VALUES (?, ?, ?, ?)',
  forgetFailure: 'DELETE FROM failures WHERE image = ?',
  mark: `INSERT INTO marks (blob, position, have, done)
    SELECT id, ? + "offset", min(?, size), ? FROM blobs WHERE digest = ? AND "offset" IS NOT NULL
    ON CONFLICT (blob) DO UPDATE SET position = excluded.position, have = excluded.have, done = excluded.done`,
  dropCheckpoints:
    'DELETE FROM checkpoints WHERE blob = (SELECT id FROM blobs WHERE digest = ?) AND bytes >= ?',
  insertCheckpoint:
    'INSERT OR REPLACE INTO checkpoints (blob, bytes, digest) SELECT id, min(?, size), ? FROM blobs WHERE digest = ?',
} as const;

export type JournalStatements = Readonly<
  Record<keyof typeof values | keyof typeof others, Database.Statement>
>;

/** What a journal asks its database again and again. */
export function prepareJournal(database: Database.Database): JournalStatements {
  const prepared = [
    ...Object.entries(values).map(([name, sql]) => [name, database.prepare(sql).pluck()]),
    ...Object.entries(others).map(([name, sql]) => [name, database.prepare(sql)]),
  ];
  return Object.fromEntries(prepared) as JournalStatements;
}

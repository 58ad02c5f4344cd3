/**
 * The journal's tables. It holds the whole plan of a bundle, from the first manifest on, and how far each blob is.
 *
 * Blobs are named by `id` inside; a row that edges name before it was added has no size yet. `ordinal` and `offset` are set
 * when the bundle is laid out. `contents` holds the bytes of manifests and configs, apart from the rows that are scanned.
 *
 * `marks` says how many bytes of a blob stand from a byte of the file on, which is not the blob's place where it was planned
 * anew since; `done` holds for the run that set it: the next one checks again. `checkpoints` holds digests of a blob's first
 * bytes, by which a run finds out how many of them are right. `moving` is the one blob that is on its way to its new place,
 * `failures` are the images that failed, `notes` what the planner wants to be told of each image.
 */
export const journalSchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID;
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  size INTEGER,
  kind TEXT,
  media_type TEXT,
  registry TEXT,
  repository TEXT,
  urls TEXT,
  left_out TEXT,
  ordinal INTEGER,
  "offset" INTEGER
);
CREATE TABLE contents (blob INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE manifests (
  blob INTEGER PRIMARY KEY,
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  subject TEXT,
  platform TEXT,
  os TEXT,
  architecture TEXT,
  variant TEXT,
  os_version TEXT,
  os_features TEXT
);
CREATE TABLE edges (
  parent INTEGER NOT NULL,
  role TEXT NOT NULL,
  position INTEGER NOT NULL,
  child INTEGER NOT NULL,
  PRIMARY KEY (parent, role, position)
) WITHOUT ROWID;
CREATE TABLE images (
  reference TEXT PRIMARY KEY,
  root INTEGER NOT NULL,
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  original INTEGER,
  companion_of TEXT
) WITHOUT ROWID;
CREATE TABLE notes (position INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE failures (
  image TEXT PRIMARY KEY,
  position INTEGER NOT NULL,
  error TEXT NOT NULL,
  lost TEXT
) WITHOUT ROWID;
CREATE TABLE marks (
  blob INTEGER PRIMARY KEY,
  position INTEGER NOT NULL,
  have INTEGER NOT NULL,
  done INTEGER NOT NULL
);
CREATE TABLE checkpoints (
  blob INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (blob, bytes)
) WITHOUT ROWID;
CREATE TABLE moving (blob INTEGER PRIMARY KEY, moved INTEGER NOT NULL, position INTEGER NOT NULL, chunk BLOB NOT NULL);
`;

/** Version of the journal's tables; a journal of another version is planned anew. */
export const journalVersion = 2;

/**
 * The journal's tables: the whole plan of a bundle, from the first manifest on, and the progress of each blob.
 *
 * - `meta`: single values by name: the state, the digest of the plan, the figures of the layout
 * - `blobs`: one row a blob; the other tables refer to its `id`. A blob that an edge names before it is added has no size. `ordinal` and
 *   `offset` are set by the layout.
 * - `contents`: bytes of manifests and configs, kept apart from the rows that are scanned
 * - `marks`: the blob's first `have` bytes are in the file at `position`. That is not the blob's place if the plan has changed since.
 *   `done` counts only in the run that set it: the next run checks again.
 * - `checkpoints`: digests of a blob's first bytes, by which a run finds out how many of them are right
 * - `moving`: the one blob that is being moved to its new place
 * - `bases`: what a delta was made against · `places`: repositories that probably hold a blob that the base has
 * - `failures`: images that failed · `notes`: texts of the planner about the images of its list
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
CREATE TABLE bases (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  registry TEXT,
  time TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE
);
CREATE TABLE places (
  blob INTEGER NOT NULL,
  kind TEXT NOT NULL,
  repository TEXT NOT NULL,
  PRIMARY KEY (blob, kind, repository)
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

/** Version of the journal's tables. A journal of another version is discarded and planning starts over. */
export const journalVersion = 3;

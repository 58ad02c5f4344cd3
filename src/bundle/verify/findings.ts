import type { Database } from '../format/database.js';
import { firstLines } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Index, Manifest } from '../../oci/manifest.js';
import { isUnknown, type Platform } from '../../oci/platform.js';
import type { BlobKind, LeftOut } from '../format/planned.js';
import type { BrokenImage, Problem, ProblemKind } from '../report.js';
import { entryNames } from '../format/format.js';
import { openDatabase, pagedRows } from '../format/sqlite.js';

/** The text for a manifest without a platform. */
export const noPlatform = '';
/** The text for a manifest that an index lists without a platform: that of its config counts. */
export const unstatedPlatform = 'of its config';

/** Returns the text of a platform as the catalog's columns hold it; attestations, which are for unknown/unknown, have none. */
function platformText(platform: Platform | undefined): string {
  if (platform === undefined || isUnknown(platform)) return noPlatform;
  const { os, architecture, variant = null, osVersion = null, osFeatures } = platform;
  if (os === '' || architecture === '') return noPlatform;
  const features = osFeatures === undefined ? null : JSON.stringify(osFeatures);
  return JSON.stringify([os, architecture, variant, osVersion, features]);
}

const kindsOfEntries: Readonly<Record<string, ProblemKind>> = {
  [entryNames.layout]: 'layout',
  [entryNames.index]: 'index',
  [entryNames.catalog]: 'catalog',
};

/** Returns the kind of problems with an entry of the head. */
export function kindOfEntry(name: string): ProblemKind {
  return kindsOfEntries[name] ?? 'sums';
}

/** `left_out` of a blob: 0 carried or unknown, 1 left out, 2 left out because a base has it. */
const schema = `
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  size INTEGER,
  kind TEXT,
  media_type TEXT,
  platform TEXT,
  left_out INTEGER NOT NULL DEFAULT 0,
  position INTEGER,
  listed INTEGER NOT NULL DEFAULT 0,
  parsed INTEGER NOT NULL DEFAULT 0,
  state TEXT
);
CREATE TABLE edges (parent INTEGER NOT NULL, child INTEGER NOT NULL, role TEXT NOT NULL, position INTEGER NOT NULL,
  optional INTEGER NOT NULL, source TEXT NOT NULL, PRIMARY KEY (parent, child, role, position, source)) WITHOUT ROWID;
CREATE TABLE facts (blob INTEGER PRIMARY KEY, kind TEXT NOT NULL, media_type TEXT NOT NULL, artifact_type TEXT, subject TEXT);
CREATE TABLE platforms (blob INTEGER NOT NULL, parent INTEGER NOT NULL, platform TEXT NOT NULL,
  PRIMARY KEY (blob, parent, platform)) WITHOUT ROWID;
CREATE TABLE labels (blob INTEGER NOT NULL, media_type TEXT NOT NULL, PRIMARY KEY (blob, media_type)) WITHOUT ROWID;
CREATE INDEX edges_by_child ON edges (child);
CREATE TABLE images (id INTEGER PRIMARY KEY, reference TEXT NOT NULL UNIQUE, root INTEGER NOT NULL, original INTEGER);
CREATE INDEX images_by_root ON images (root);
CREATE INDEX images_by_original ON images (original);
CREATE TABLE problems (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, thing TEXT NOT NULL, detail TEXT NOT NULL, blob INTEGER);
`;

interface ProblemRow extends Omit<Problem, 'images'> {
  readonly id: number;
  readonly blob: number | null;
}

/** Problems per query. */
const pageRows = 200;

/** The findings of checks on a bundle, in a temporary database, so that memory does not grow with the bundle. */
export class Findings {
  readonly database: Database;
  readonly #statements: ReturnType<typeof prepare>;

  constructor() {
    // With an empty name SQLite creates a temporary file, and removes it itself.
    this.database = openDatabase('');
    this.database.pragma('journal_mode = OFF');
    this.database.pragma('synchronous = OFF');
    this.database.pragma('cache_size = -16000');
    this.database.exec(`BEGIN; ${schema}`);
    this.#statements = prepare(this.database);
  }

  /** Reports a problem. It affects everything that depends on `blob`. */
  report(kind: ProblemKind, thing: string, detail: string, blob?: Digest): void {
    const id = blob === undefined ? null : this.idOf(blob);
    this.#statements.addProblem.run(kind, thing, detail, id);
    if (id !== null && (kind === 'missing' || kind === 'digest')) this.#statements.settle.run('bad', id);
  }

  /** Returns the id of a blob; adds the blob if it is unknown. */
  idOf(digest: Digest): number {
    const found = this.#statements.blobId.get(digest) as number | undefined;
    return found ?? Number(this.#statements.addBlob.run(digest).lastInsertRowid);
  }

  /** Records properties of a blob. Properties that are known already stay. */
  describe(
    digest: Digest,
    properties: {
      size?: number | undefined;
      kind?: BlobKind | undefined;
      mediaType?: string | undefined;
      platform?: string | undefined;
      leftOut?: LeftOut | undefined;
    },
  ): number {
    const id = this.idOf(digest);
    const { size = null, kind = null, mediaType = null, platform = null, leftOut } = properties;
    this.#statements.describe.run(
      size,
      kind,
      mediaType,
      platform,
      leftOut === undefined ? 0 : leftOut === 'base' ? 2 : 1,
      id,
    );
    return id;
  }

  /** Records the position of a blob's content in the file. */
  place(digest: Digest, position: number): void {
    this.#statements.place.run(position, this.idOf(digest));
  }

  /** Returns the position of a blob's content if its digest is right. */
  positionOf(digest: Digest): number | undefined {
    return this.#statements.positionOf.get(digest) as number | undefined;
  }

  /** Returns the size that descriptors or the catalog give for a blob. */
  sizeOf(id: number): number | undefined {
    return (this.#statements.size.get(id) as number | null | undefined) ?? undefined;
  }

  /** Counts images, signatures under cosign's tags among them, blobs in the file, and blobs left out. */
  totals(): { images: number; signatures: number; blobs: number; blobBytes: number; leftOut: number } {
    return this.#statements.totals.get() as ReturnType<Findings['totals']>;
  }

  /** Records that a blob's content matches its digest. */
  approve(id: number): void {
    this.#statements.settle.run('ok', id);
  }

  /** @param edge `isOptional`: the parent is complete without the child */
  addEdge(
    parent: number,
    child: number,
    edge: {
      readonly role: string;
      readonly position: number;
      readonly source: 'catalog' | 'manifest';
      readonly isOptional?: boolean;
    },
  ): void {
    const { role, position, source, isOptional = false } = edge;
    this.#statements.addEdge.run(parent, child, role, position, isOptional ? 1 : 0, source);
  }

  /** Records the properties that the content of a manifest or index states. */
  addFacts(id: number, { kind, mediaType, artifactType, subject }: Manifest | Index): void {
    this.#statements.addFacts.run(id, kind, mediaType, artifactType ?? null, subject?.digest ?? null);
  }

  /** Records the media type and the platform that an index states for a child. */
  addStated(id: number, index: number, { mediaType, platform }: Descriptor): void {
    this.#statements.addLabel.run(id, mediaType);
    this.#statements.addPlatform.run(
      id,
      index,
      platform === undefined ? unstatedPlatform : platformText(platform),
    );
  }

  /** Records the platform that the config of a manifest states; undefined if the manifest has no such config. */
  addConfigPlatform(id: number, platform: Platform | undefined): void {
    this.#statements.addPlatform.run(id, 0, platformText(platform));
  }

  /** Reports whether the bundle leaves a blob out although no base has it. */
  isLeftOut(id: number): boolean {
    return this.#statements.leftOut.get(id) === 1;
  }

  addImage(reference: string, root: number, original: number | undefined): void {
    this.#statements.addImage.run(reference, root, original ?? null);
  }

  /** Reports whether a problem of this kind has been found. */
  hasProblem(kind: ProblemKind): boolean {
    return this.#statements.hasProblem.get(kind) !== undefined;
  }

  /** Yields the problems in the order in which they were found, with the images that each affects. */
  *problems(): Iterable<Problem> {
    const page = this.database.prepare(`SELECT * FROM problems WHERE id > ? ORDER BY id LIMIT ${pageRows}`);
    const rows = pagedRows<ProblemRow>(pageRows, (last) => page.all(last?.id ?? 0));
    for (const { kind, thing, detail, blob } of rows)
      yield { kind, thing, detail, images: blob === null ? [] : this.#affectedBy(blob) };
  }

  /** Yields the blobs that the bundle should carry and whose content is missing or wrong, in file order, with the images that need each. */
  *badBlobs(): Iterable<{
    readonly digest: Digest;
    readonly size: number | undefined;
    readonly images: readonly BrokenImage[];
  }> {
    const page = this.database.prepare(
      `SELECT id, digest, size FROM blobs WHERE id > ? AND state = 'bad' AND left_out <> 1 ORDER BY id LIMIT ${pageRows}`,
    );
    type BadRow = { readonly id: number; readonly digest: Digest; readonly size: number | null };
    const rows = pagedRows<BadRow>(pageRows, (last) => page.all(last?.id ?? 0));
    for (const { id, digest, size } of rows)
      yield { digest, size: size ?? undefined, images: this.#affectedBy(id) };
  }

  /** Formats the first problems as lines of an error, and the number of the rest; undefined if there are no problems. */
  problemLines(most: number): [first: string, ...others: string[]] | undefined {
    const rows = this.database
      .prepare('SELECT thing, detail FROM problems ORDER BY id LIMIT ?')
      .all(most) as Pick<Problem, 'thing' | 'detail'>[];
    const [first, ...others] = rows.map(({ thing, detail }) => `${thing}: ${detail}`);
    if (first === undefined) return undefined;
    const count = this.database.prepare('SELECT count(*) FROM problems').pluck().get() as number;
    return [first, ...firstLines(others, most - 1, count - 1)];
  }

  /** Lists the images that need a blob. */
  imagesOf(digest: Digest): BrokenImage[] {
    return this.#affectedBy(this.idOf(digest));
  }

  #affectedBy(blob: number): BrokenImage[] {
    const rows = this.#statements.affectedBy.all({ blob }) as {
      reference: string;
      platform: string | null;
    }[];
    const images = new Map<string, Set<string>>();
    for (const { reference, platform } of rows) {
      const platforms = images.get(reference) ?? new Set();
      images.set(reference, platforms);
      if (platform !== null && !platform.startsWith('unknown')) platforms.add(platform);
    }
    return [...images].map(([reference, platforms]) => ({ reference, platforms: [...platforms].sort() }));
  }

  close(): void {
    this.database.close();
  }
}

function prepare(database: Database) {
  return {
    addProblem: database.prepare('INSERT INTO problems (kind, thing, detail, blob) VALUES (?, ?, ?, ?)'),
    blobId: database.prepare('SELECT id FROM blobs WHERE digest = ?').pluck(),
    addBlob: database.prepare('INSERT INTO blobs (digest) VALUES (?)'),
    describe: database.prepare(
      `UPDATE blobs SET size = coalesce(size, ?), kind = coalesce(kind, ?), media_type = coalesce(media_type, ?),
        platform = coalesce(platform, ?), left_out = max(left_out, ?) WHERE id = ?`,
    ),
    place: database.prepare('UPDATE blobs SET position = ? WHERE id = ?'),
    positionOf: database
      .prepare("SELECT position FROM blobs WHERE digest = ? AND state = 'ok' AND position IS NOT NULL")
      .pluck(),
    size: database.prepare('SELECT size FROM blobs WHERE id = ?').pluck(),
    totals: database.prepare(
      `SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM images WHERE reference GLOB '*:sha256-*.sig'
          OR reference GLOB '*:sha256-*.att' OR reference GLOB '*:sha256-*.sbom') AS signatures, count(position) AS blobs,
        coalesce(sum(iif(position IS NULL, 0, size)), 0) AS blobBytes, count(nullif(left_out, 0)) AS leftOut FROM blobs`,
    ),
    settle: database.prepare('UPDATE blobs SET state = ? WHERE id = ?'),
    addEdge: database.prepare(
      'INSERT OR IGNORE INTO edges (parent, child, role, position, optional, source) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    addFacts: database.prepare('INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?)'),
    addPlatform: database.prepare('INSERT OR IGNORE INTO platforms VALUES (?, ?, ?)'),
    addLabel: database.prepare('INSERT OR IGNORE INTO labels VALUES (?, ?)'),
    hasProblem: database.prepare('SELECT 1 FROM problems WHERE kind = ? LIMIT 1'),
    leftOut: database.prepare('SELECT left_out FROM blobs WHERE id = ?').pluck(),
    addImage: database.prepare('INSERT OR IGNORE INTO images (reference, root, original) VALUES (?, ?, ?)'),
    // Walks from the blob up to the roots. The platform is that of the nearest manifest on the way; a damaged index affects every platform
    // below it.
    affectedBy: database.prepare(`
      WITH RECURSIVE
        down (id) AS (
          VALUES (@blob) UNION SELECT child FROM down CROSS JOIN edges ON parent = down.id AND role = 'manifest'
        ),
        up (id, platform) AS (
          SELECT @blob, platform FROM down CROSS JOIN blobs ON blobs.id = down.id
            WHERE platform IS NOT NULL OR NOT EXISTS (SELECT 1 FROM edges WHERE parent = @blob AND role = 'manifest')
          UNION
          SELECT parent, coalesce(up.platform, blobs.platform) FROM up CROSS JOIN edges ON child = up.id AND role <> 'subject'
            CROSS JOIN blobs ON blobs.id = parent
        )
      SELECT reference, platform FROM up CROSS JOIN images ON images.root = up.id
      UNION SELECT reference, platform FROM up CROSS JOIN images ON images.original = up.id
      ORDER BY reference`),
  };
}

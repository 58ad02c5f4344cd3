import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import type { Database } from '../format/database.js';
import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { isIndex } from '../../oci/media-types.js';
import { formatPlatform, type Platform } from '../../oci/platform.js';
import { formatReference } from '../../oci/reference.js';
import type { Image } from '../../oci/source.js';
import type { BlobKind, LeftOut, PlannedBlob, PlannedManifest } from '../format/planned.js';
import { PlannedBase } from './base.js';
import { Failures } from './failures.js';
import { connect, emptyDatabase } from './journal-database.js';
import { Moves } from './moves.js';
import { Placement } from './placement.js';
import { Progress, type Mark, type PendingBlob } from './progress.js';
import { prunePlan } from './prune.js';

/** Values that the journal keeps by name. */
type MetaName =
  'volumeSize' | 'state' | 'plan' | 'fingerprint' | 'nextFingerprint' | 'created' | 'start' | 'size' | 'head';

const kindOrder: readonly BlobKind[] = ['index', 'manifest', 'config', 'layer'];

/** Milliseconds, and additions, between two commits while planning: a killed process loses what came after the last commit. */
const commitInterval = 200;
const commitEvery = 5000;

/** All rows of a plan, in a fixed order. Contents are not among them: they are hashed when they are used. */
const planRows = [
  "SELECT name, value FROM meta WHERE name IN ('fingerprint', 'created') ORDER BY name",
  `SELECT id, digest, size, kind, media_type, registry, repository, urls, left_out,
    EXISTS (SELECT 1 FROM contents WHERE blob = id) FROM blobs ORDER BY id`,
  'SELECT * FROM manifests ORDER BY blob',
  'SELECT * FROM edges ORDER BY parent, role, position',
  'SELECT * FROM images ORDER BY reference',
] as const;

/**
 * The journal beside a bundle that is being written: an SQLite database, so that the plan needs no memory and survives the process. One
 * connection locks it exclusively as long as the process lives; the operating system releases the lock when the process ends.
 *
 * Durability: only `seal` waits for the disk. Whatever else a power loss destroys is planned or recorded again; marks are hints, never
 * proofs. All of the journal's SQL is in this folder.
 */
export class Journal {
  #adds = 0;
  #isChanging = false;
  #committed = performance.now();
  #tables: Tables;

  private constructor(readonly path: string) {
    this.#tables = openTables(path);
  }

  /**
   * Opens the journal. Creates an empty one if it does not exist or is unreadable.
   * @throws AirliftError `busy` if another process holds it, `io`
   */
  static open(path: string): Journal {
    try {
      return new Journal(path);
    } catch (error) {
      if (!isAirliftError(error, 'damaged')) throw error;
      Journal.remove(path);
      return new Journal(path);
    }
  }

  /** Removes the journal's files. The journal must be closed. */
  static remove(path: string): void {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
  }

  get failures(): Failures {
    return this.#tables.failures;
  }

  get base(): PlannedBase {
    return this.#tables.base;
  }

  get progress(): Progress {
    return this.#tables.progress;
  }

  get placement(): Placement {
    return this.#tables.placement;
  }

  get moves(): Moves {
    return this.#tables.moves;
  }

  get #database(): Database {
    return this.#tables.database;
  }

  get #statements(): Statements {
    return this.#tables.statements;
  }

  /** Empties the journal. Releases the lock for a moment only if the file is damaged and has to be replaced. */
  restart(): void {
    if (emptyDatabase(this.#database)) return;
    this.#database.close();
    Journal.remove(this.path);
    this.#tables = openTables(this.path);
  }

  /**
   * Discards the plan but keeps the contents of manifests and configs, after checking their digests, so that planning again need not
   * download them. Marks stay too, with the positions of their bytes.
   */
  replan(): void {
    const damaged: number[] = [];
    type ContentRow = { blob: number; digest: Digest | null; bytes: Buffer };
    for (const { blob, digest, bytes } of this.#statements.contents.iterate() as Iterable<ContentRow>)
      if (digest === null || digestOf(bytes, algorithmOf(digest)) !== digest) damaged.push(blob);
    this.#database.transaction(() => {
      for (const blob of damaged) this.#statements.dropContent.run(blob);
      this.#database.exec(`
        DELETE FROM marks WHERE blob IN (SELECT blob FROM moving);
        DELETE FROM moving; DELETE FROM meta; DELETE FROM manifests; DELETE FROM edges; DELETE FROM images; DELETE FROM failures; DELETE FROM notes;
        DELETE FROM bases; DELETE FROM places;
        DROP INDEX IF EXISTS blobs_by_ordinal; DROP INDEX IF EXISTS blobs_by_size; DROP INDEX IF EXISTS edges_up;
        UPDATE blobs SET size = NULL, kind = NULL, media_type = NULL, registry = NULL, repository = NULL, urls = NULL,
          left_out = NULL, ordinal = NULL, "offset" = NULL;
      `);
    })();
  }

  /** Reports whether SQLite finds the database intact. */
  isIntact(): boolean {
    return this.#database.pragma('integrity_check(1)', { simple: true }) === 'ok';
  }

  get(name: MetaName): unknown {
    return this.#statements.getMeta.get(name);
  }

  set(name: MetaName, value: string | number): void {
    this.#statements.setMeta.run(name, value);
  }

  /** Position of the first blob's header in the laid-out file, from which offsets count. */
  get start(): number {
    return Number(this.get('start'));
  }

  commit(): void {
    if (this.#isChanging) return;
    if (this.#database.inTransaction) this.#database.exec('COMMIT');
    this.#adds = 0;
    this.#committed = performance.now();
  }

  /** Begins to change a laid-out plan. The change takes effect as a whole, by `commitChange`, or not at all. */
  beginChange(): void {
    this.commit();
    this.#database.exec('BEGIN');
    this.#isChanging = true;
  }

  /** True between `beginChange` and `commitChange` or `rollBackChange`. */
  get isChanging(): boolean {
    return this.#isChanging;
  }

  /** Commits the change. From here on the changed plan holds, and has to be laid out again, in this run or the next. */
  commitChange(): void {
    this.set('state', 'changed');
    this.set('plan', this.planDigest());
    this.#isChanging = false;
    this.commit();
  }

  rollBackChange(): void {
    this.#isChanging = false;
    if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
  }

  /** Counts an addition to the plan. Commits from time to time and keeps a transaction open. */
  #countAdd(): void {
    this.#adds++;
    if (this.#adds >= commitEvery || performance.now() - this.#committed > commitInterval) this.commit();
    if (!this.#database.inTransaction) this.#database.exec('BEGIN');
  }

  /** Returns the id of a blob; inserts a row for it if it has none. */
  #idOf(digest: Digest): number {
    const { blobId, insertBlob } = this.#statements;
    const found = blobId.get(digest) as number | undefined;
    return found ?? Number(insertBlob.run(digest).lastInsertRowid);
  }

  #describe(descriptor: Descriptor, kind: BlobKind): number {
    const id = this.#idOf(descriptor.digest);
    const row = this.#statements.blobRow.get(id) as { size: number | null; kind: BlobKind | null };
    if (row.size !== null && row.size !== descriptor.size) {
      throw new AirliftError(
        'conflict',
        `plan blob ${descriptor.digest}: two descriptors disagree on its size; got ${descriptor.size}, want ${row.size}`,
      );
    }
    if (row.kind === null || kindOrder.indexOf(kind) < kindOrder.indexOf(row.kind))
      this.#statements.describeBlob.run(descriptor.size, kind, id);
    return id;
  }

  /** Adds a manifest or index with its edges. Adding it again only completes what the first call did not know. */
  addManifest({ descriptor, platform, bytes, manifest, edges }: PlannedManifest): void {
    this.#countAdd();
    const id = this.#describe(descriptor, isIndex(descriptor.mediaType) ? 'index' : 'manifest');
    this.#storeContent(id, descriptor, bytes);
    this.#statements.carry.run(id);
    this.#statements.insertManifest.run(
      id,
      descriptor.mediaType,
      manifest.artifactType ?? null,
      manifest.subject?.digest ?? null,
    );
    if (platform !== undefined) this.#addPlatform(id, platform);
    for (const { child, role, position } of edges)
      this.#statements.insertEdge.run(id, role, position, this.#idOf(child));
  }

  /** Records a platform of a manifest. If several are stated, which one is kept does not depend on their order. */
  #addPlatform(manifest: number, platform: Platform): void {
    if (platform.os === '' || platform.architecture === '') return;
    this.#statements.setPlatform.run({
      id: manifest,
      platform: formatPlatform(platform),
      os: platform.os,
      architecture: platform.architecture,
      variant: platform.variant ?? null,
      osVersion: platform.osVersion ?? null,
      osFeatures: platform.osFeatures === undefined ? null : JSON.stringify(platform.osFeatures),
    });
  }

  /** Stores the content of a blob until it is written to the file. */
  #storeContent(id: number, { digest, size }: Descriptor, bytes: Uint8Array): void {
    if (bytes.byteLength !== size) {
      throw new AirliftError(
        'size-mismatch',
        `plan blob ${digest}: size mismatch; got ${bytes.byteLength} bytes, want ${size}`,
      );
    }
    const got = digestOf(bytes, algorithmOf(digest));
    if (got !== digest)
      throw new AirliftError(
        'digest-mismatch',
        `plan blob ${digest}: digest mismatch; got ${got}, want ${digest}`,
      );
    this.#statements.insertContent.run(id, bytes);
  }

  /** Adds a config or layer. It is downloaded from the repository that the first call names. */
  addBlob(blob: PlannedBlob): void {
    this.#countAdd();
    const id = this.#describe(blob.descriptor, blob.role);
    const { registry, repository } = blob.repository;
    const { mediaType, urls } = blob.descriptor;
    this.#statements.placeBlob.run(
      registry,
      repository,
      mediaType,
      urls === undefined ? null : JSON.stringify(urls),
      id,
    );
    if (blob.bytes !== undefined) this.#storeContent(id, blob.descriptor, blob.bytes);
  }

  /** Changes the part of the plan that makes the bundle a delta. */
  changeBase(change: (base: PlannedBase) => void): void {
    this.#countAdd();
    change(this.base);
  }

  /** Records a blob that the plan names but that the bundle does not carry, unless another image needs it carried. */
  leaveOut({ descriptor, role }: Pick<PlannedBlob, 'descriptor' | 'role'>, reason: LeftOut): void {
    this.#countAdd();
    const id = this.#describe(descriptor, role);
    this.#statements.leaveOut.run(reason, descriptor.mediaType, id);
  }

  /** @throws AirliftError `conflict` if the reference was added with another root */
  addImage(image: Image, companionOf: Digest | undefined): void {
    this.#countAdd();
    const reference = formatReference(image.reference);
    const root = this.#idOf(image.root.digest);
    const original = image.original === undefined ? null : this.#idOf(image.original.digest);
    const before = this.#statements.imageRoot.get(reference) as number | undefined;
    if (before !== undefined && before !== root)
      throw new AirliftError('conflict', `plan image ${reference}: two roots for one reference`);
    this.#statements.insertImage.run(
      reference,
      root,
      image.root.mediaType,
      image.root.artifactType ?? null,
      original,
      companionOf ?? null,
    );
  }

  hasImage(reference: string): boolean {
    return this.#statements.imageRoot.get(reference) !== undefined;
  }

  /** Number of images, signatures under tags included. */
  get imageCount(): number {
    return this.#statements.imageCount.get() as number;
  }

  /** Number of images of the list; signatures that came with an image do not count. */
  get listedImageCount(): number {
    return this.#statements.listedImageCount.get() as number;
  }

  /** Yields the references of all images, sorted. */
  references(): Iterable<string> {
    return this.#statements.references.iterate() as Iterable<string>;
  }

  /** Lists the platforms of the plan's images, sorted; attestations have none. */
  platforms(): string[] {
    return this.#statements.platforms.all() as string[];
  }

  /** Records a text about the image at this position of the list; replaces the text that the position had before. */
  addNote(position: number, text: string): void {
    this.#countAdd();
    this.#statements.addNote.run(position, text);
  }

  /** Yields the notes by position. */
  notes(): Iterable<string> {
    return this.#statements.notes.iterate() as Iterable<string>;
  }

  /** Returns the content of a manifest or config that this run or an interrupted one has fetched. */
  content(digest: Digest): Buffer | undefined {
    return this.#statements.content.get(digest) as Buffer | undefined;
  }

  /** Reports whether it holds content that another run of the same command need not fetch again. */
  get hasContents(): boolean {
    return this.#statements.hasContents.get() === 1;
  }

  /** Reports whether the blob is in the plan and carried. */
  has(digest: Digest): boolean {
    return this.#statements.knownBlob.get(digest) !== undefined;
  }

  /** Removes everything that belongs to no image from the plan. */
  prune(): void {
    prunePlan(this.#database, this.#isChanging, (manifest, platform) =>
      this.#addPlatform(manifest, platform),
    );
  }

  /** Yields the blobs of the laid-out plan that this run has not finished: largest first, or in file order. */
  pending(isInOrder = false): Iterable<PendingBlob> {
    return this.progress.pending(this.start, isInOrder);
  }

  recordMarks(marks: Iterable<Mark>): void {
    this.progress.record(marks, this.start);
  }

  /** Computes a digest over a plan that is not laid out yet. A journal whose plan has another digest is damaged. */
  planDigest(): string {
    const hash = createHash('sha256');
    for (const rows of this.#statements.plan)
      for (const row of rows.iterate()) hash.update(`${JSON.stringify(row)}\n`);
    return hash.digest('hex');
  }

  /** Computes a digest over a laid-out plan. A journal whose placement has another digest is damaged. */
  placementDigest(): string {
    const names = ['fingerprint', 'created', 'start', 'size', 'head'] as const;
    return this.placement.digest(names.map((name) => this.get(name)));
  }

  /** Commits, and returns when everything is on the disk. */
  seal(): void {
    this.commit();
    this.#database.pragma('wal_checkpoint(TRUNCATE)');
  }

  /** Closes the journal. Rolls a change back that is not committed. */
  close(): void {
    try {
      if (this.#isChanging) this.rollBackChange();
      this.commit();
    } finally {
      this.#database.close();
    }
  }
}

type Statements = ReturnType<typeof prepare>;
type Tables = ReturnType<typeof openTables>;

/** Opens the database and prepares everything that asks it. */
function openTables(path: string) {
  return connect(path, (database) => ({
    database,
    statements: prepare(database),
    base: new PlannedBase(database),
    failures: new Failures(database),
    progress: new Progress(database),
    placement: new Placement(database),
    moves: new Moves(database),
  }));
}

function prepare(database: Database) {
  return {
    getMeta: database.prepare('SELECT value FROM meta WHERE name = ?').pluck(),
    setMeta: database.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)'),
    plan: planRows.map((sql) => database.prepare(sql).raw()),
    blobId: database.prepare('SELECT id FROM blobs WHERE digest = ?').pluck(),
    knownBlob: database
      .prepare('SELECT 1 FROM blobs WHERE digest = ? AND size IS NOT NULL AND left_out IS NULL')
      .pluck(),
    insertBlob: database.prepare('INSERT INTO blobs (digest) VALUES (?)'),
    blobRow: database.prepare('SELECT size, kind FROM blobs WHERE id = ?'),
    describeBlob: database.prepare('UPDATE blobs SET size = ?, kind = ? WHERE id = ?'),
    placeBlob: database.prepare(
      `UPDATE blobs SET registry = ?, repository = ?, media_type = ?, urls = ?, left_out = NULL
      WHERE id = ? AND registry IS NULL`,
    ),
    leaveOut: database.prepare(
      `UPDATE blobs SET left_out = ?, media_type = ? WHERE id = ? AND registry IS NULL
      AND NOT EXISTS (SELECT 1 FROM manifests WHERE blob = id)`,
    ),
    carry: database.prepare('UPDATE blobs SET left_out = NULL WHERE id = ?'),
    contents: database.prepare(
      'SELECT blob, digest, bytes FROM contents LEFT JOIN blobs ON blobs.id = contents.blob',
    ),
    content: database
      .prepare('SELECT bytes FROM contents JOIN blobs ON blobs.id = contents.blob WHERE digest = ?')
      .pluck(),
    hasContents: database.prepare('SELECT EXISTS (SELECT 1 FROM contents)').pluck(),
    insertContent: database.prepare('INSERT OR IGNORE INTO contents (blob, bytes) VALUES (?, ?)'),
    dropContent: database.prepare('DELETE FROM contents WHERE blob = ?'),
    // If two descriptors of a manifest differ, the least media type wins: the order of additions must not matter.
    insertManifest: database.prepare(
      `INSERT INTO manifests (blob, media_type, artifact_type, subject) VALUES (?, ?, ?, ?)
      ON CONFLICT (blob) DO UPDATE SET media_type = min(media_type, excluded.media_type)`,
    ),
    setPlatform: database.prepare(
      `UPDATE manifests SET platform = @platform, os = @os, architecture = @architecture, variant = @variant,
        os_version = @osVersion, os_features = @osFeatures
      WHERE blob = @id AND (platform IS NULL OR @platform < platform)`,
    ),
    platforms: database
      .prepare(
        "SELECT DISTINCT platform FROM manifests WHERE platform IS NOT NULL AND os <> 'unknown' ORDER BY platform",
      )
      .pluck(),
    insertEdge: database.prepare(
      'INSERT OR IGNORE INTO edges (parent, role, position, child) VALUES (?, ?, ?, ?)',
    ),
    // A signature that the list names stays, whatever becomes of the image it signs.
    insertImage: database.prepare(
      `INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (reference) DO UPDATE SET companion_of = NULL WHERE excluded.companion_of IS NULL`,
    ),
    imageRoot: database.prepare('SELECT root FROM images WHERE reference = ?').pluck(),
    imageCount: database.prepare('SELECT count(*) FROM images').pluck(),
    listedImageCount: database.prepare('SELECT count(*) FROM images WHERE companion_of IS NULL').pluck(),
    references: database.prepare('SELECT reference FROM images ORDER BY reference').pluck(),
    addNote: database.prepare('INSERT OR REPLACE INTO notes VALUES (?, ?)'),
    notes: database.prepare('SELECT text FROM notes ORDER BY position').pluck(),
  };
}

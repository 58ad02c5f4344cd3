import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { isIndex } from '../../oci/media-types.js';
import { formatPlatform, type Platform } from '../../oci/platform.js';
import { formatReference } from '../../oci/reference.js';
import type { Image } from '../../oci/source.js';
import { connect, empty } from './journal-database.js';
import type { JournalStatements } from './journal-statements.js';
import type { BlobKind, LeftOut, Mark, PlannedBlob, PlannedManifest } from '../format/planned.js';

const kindOrder: readonly BlobKind[] = ['index', 'manifest', 'config', 'layer'];

/** Milliseconds, or adds, between two commits while planning: a process that is killed loses what came after the last. */
const commitInterval = 200;
const commitEvery = 5000;

/** All rows of a plan, in a fixed order. Contents are hashed when they are used. */
const planRows = [
  "SELECT name, value FROM meta WHERE name IN ('fingerprint', 'created') ORDER BY name",
  `SELECT id, digest, size, kind, media_type, registry, repository, urls, left_out,
    EXISTS (SELECT 1 FROM contents WHERE blob = id) FROM blobs ORDER BY id`,
  'SELECT * FROM manifests ORDER BY blob',
  'SELECT * FROM edges ORDER BY parent, role, position',
  'SELECT * FROM images ORDER BY reference',
] as const;

/**
 * The journal beside a bundle that is being written: SQLite, so that the plan need not be held in memory and survives the
 * process. One connection holds it exclusively while the process lives; the operating system lets go of it with the process.
 *
 * Durability: only `seal` waits for the disk. Whatever else is lost with the power is planned or marked again; marks are
 * hints, never proofs.
 */
export class Journal {
  #adds = 0;
  #isHeld = false;
  #committed = performance.now();
  #database: Database.Database;
  #statements: JournalStatements;

  private constructor(readonly path: string) {
    [this.#database, this.#statements] = connect(path);
  }

  get statements(): JournalStatements {
    return this.#statements;
  }

  get database(): Database.Database {
    return this.#database;
  }

  /**
   * Opens the journal, or makes an empty one where there is none or it can't be read.
   * @throws AirliftError `busy` where another process holds it, `io`
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

  /** Forgets everything. The lock is let go for a moment only where the file is damaged and has to be replaced. */
  restart(): void {
    if (empty(this.#database)) return;
    this.#database.close();
    Journal.remove(this.path);
    [this.#database, this.#statements] = connect(this.path);
  }

  /**
   * Forgets the plan, and keeps what planning it again need not fetch again: the contents of manifests and configs, each
   * hashed anew. Marks stay, at the positions where their bytes are.
   */
  replan(): void {
    const { database } = this;
    const damaged: number[] = [];
    const contents = database.prepare(
      'SELECT blob, digest, bytes FROM contents LEFT JOIN blobs ON blobs.id = contents.blob',
    );
    type ContentRow = { blob: number; digest: Digest | null; bytes: Buffer };
    for (const { blob, digest, bytes } of contents.iterate() as Iterable<ContentRow>)
      if (digest === null || digestOf(bytes, algorithmOf(digest)) !== digest) damaged.push(blob);
    database.transaction(() => {
      for (const blob of damaged) this.#statements.dropContent.run(blob);
      database.exec(`
        DELETE FROM marks WHERE blob IN (SELECT blob FROM moving);
        DELETE FROM moving; DELETE FROM meta; DELETE FROM manifests; DELETE FROM edges; DELETE FROM images; DELETE FROM failures; DELETE FROM notes;
        DROP INDEX IF EXISTS blobs_by_ordinal; DROP INDEX IF EXISTS blobs_by_size; DROP INDEX IF EXISTS edges_up;
        UPDATE blobs SET size = NULL, kind = NULL, media_type = NULL, registry = NULL, repository = NULL, urls = NULL,
          left_out = NULL, ordinal = NULL, "offset" = NULL;
      `);
    })();
  }

  /** The content of a manifest or config that was fetched already, by this run or an interrupted one. */
  content(digest: Digest): Buffer | undefined {
    return this.#statements.content.get(digest) as Buffer | undefined;
  }

  /** Whether SQLite finds nothing wrong with it. */
  isIntact(): boolean {
    return this.database.pragma('integrity_check(1)', { simple: true }) === 'ok';
  }

  /** Whether it knows of bytes that the file holds. */
  get hasMarks(): boolean {
    return this.database.prepare('SELECT EXISTS (SELECT 1 FROM marks WHERE have > 0)').pluck().get() === 1;
  }

  /** Images that were asked for; signatures that only belong to one do not count. */
  get imagesAskedFor(): number {
    return this.database
      .prepare('SELECT count(*) FROM images WHERE companion_of IS NULL')
      .pluck()
      .get() as number;
  }

  /** Whether anything was fetched that another run of the same command need not fetch again. */
  get isWorthKeeping(): boolean {
    return this.database.prepare('SELECT EXISTS (SELECT 1 FROM contents)').pluck().get() === 1;
  }

  /** Removes the journal's files. The journal must be closed. */
  static remove(path: string): void {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
  }

  get(name: string): unknown {
    return this.#statements.getMeta.get(name);
  }

  set(name: string, value: string | number): void {
    this.#statements.setMeta.run(name, value);
  }

  /** Begins the transaction that planning collects its rows in. */
  begin(): void {
    if (!this.database.inTransaction) this.database.exec('BEGIN');
  }

  commit(): void {
    if (this.#isHeld) return;
    if (this.database.inTransaction) this.database.exec('COMMIT');
    this.#adds = 0;
    this.#committed = performance.now();
  }

  /** Begins a change of a laid-out plan, which is made as a whole by `settle`, or not at all. */
  hold(): void {
    this.commit();
    this.database.exec('BEGIN');
    this.#isHeld = true;
  }

  /** A change was begun that is not made yet. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Makes the change. From here on, whatever happens, the plan is the changed one, which is to be laid out again. */
  settle(): void {
    this.set('state', 'changed');
    this.set('plan', this.planDigest());
    this.#isHeld = false;
    this.commit();
  }

  /** Takes the change back. */
  rollBack(): void {
    this.#isHeld = false;
    if (this.database.inTransaction) this.database.exec('ROLLBACK');
  }

  #added(): void {
    this.#adds++;
    if (this.#adds >= commitEvery || performance.now() - this.#committed > commitInterval) this.commit();
    this.begin();
  }

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

  /** Adds a manifest or index with its edges. Adding it a second time only completes what the first call did not know. */
  addManifest({ descriptor, platform, bytes, manifest, edges }: PlannedManifest): void {
    this.#added();
    const id = this.#describe(descriptor, isIndex(descriptor.mediaType) ? 'index' : 'manifest');
    this.#hold(id, descriptor, bytes);
    this.#statements.carry.run(id);
    this.#statements.insertManifest.run(
      id,
      descriptor.mediaType,
      manifest.artifactType ?? null,
      manifest.subject?.digest ?? null,
    );
    if (platform !== undefined) this.addPlatform(id, platform);
    for (const { child, role, position } of edges)
      this.#statements.insertEdge.run(id, role, position, this.#idOf(child));
  }

  /** Notes a platform that something says a manifest is for. Which of several is kept does not depend on their order. */
  addPlatform(id: number, platform: Platform): void {
    if (platform.os === '' || platform.architecture === '') return;
    this.#statements.setPlatform.run({
      id,
      platform: formatPlatform(platform),
      os: platform.os,
      architecture: platform.architecture,
      variant: platform.variant ?? null,
      osVersion: platform.osVersion ?? null,
      osFeatures: platform.osFeatures === undefined ? null : JSON.stringify(platform.osFeatures),
    });
  }

  /** Keeps the content of a blob until it is written. */
  #hold(id: number, { digest, size }: Descriptor, bytes: Uint8Array): void {
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

  /** Takes a config or layer into the plan; where it may be fetched from is what was said first. */
  addBlob(blob: PlannedBlob): void {
    this.#added();
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
    if (blob.bytes !== undefined) this.#hold(id, blob.descriptor, blob.bytes);
  }

  /** Records a blob that the plan names but the bundle does not carry, unless another image has it carried. */
  leaveOut({ descriptor, role }: Pick<PlannedBlob, 'descriptor' | 'role'>, reason: LeftOut): void {
    this.#added();
    const id = this.#describe(descriptor, role);
    this.#statements.leaveOut.run(reason, descriptor.mediaType, id);
  }

  /** The platforms of the plan's images, sorted; attestations have none. */
  platforms(): string[] {
    return this.database
      .prepare(
        "SELECT DISTINCT platform FROM manifests WHERE platform IS NOT NULL AND os <> 'unknown' ORDER BY platform",
      )
      .pluck()
      .all() as string[];
  }

  /** @throws AirliftError `conflict` where the reference was added with another root */
  addImage(image: Image, companionOf: Digest | undefined): void {
    this.#added();
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

  has(digest: Digest): boolean {
    return this.#statements.knownBlob.get(digest) !== undefined;
  }

  /** Writes marks of a laid-out bundle. */
  mark(marks: Iterable<Mark>): void {
    const { mark, dropCheckpoints, insertCheckpoint } = this.#statements;
    this.database.transaction(() => {
      const start = Number(this.get('start'));
      for (const { digest, have, checkpoint, done, isFirst } of marks) {
        mark.run(start, have, done ? 1 : 0, digest);
        // A blob that was begun anew has none of its old bytes any more.
        if (isFirst === true) dropCheckpoints.run(digest, have);
        if (checkpoint !== undefined) insertCheckpoint.run(have, checkpoint, digest);
      }
    })();
  }

  /** Computes a digest over a plan that is still to be laid out. A journal whose plan has another digest is damaged. */
  planDigest(): string {
    const hash = createHash('sha256');
    for (const sql of planRows) {
      for (const row of this.database.prepare(sql).raw().iterate()) hash.update(`${JSON.stringify(row)}\n`);
    }
    return hash.digest('hex');
  }

  note(position: number, text: string): void {
    this.#added();
    this.#statements.note.run(position, text);
  }

  notes(): Iterable<string> {
    return this.database
      .prepare('SELECT text FROM notes ORDER BY position')
      .pluck()
      .iterate() as Iterable<string>;
  }

  hasImage(reference: string): boolean {
    return this.#statements.imageRoot.get(reference) !== undefined;
  }

  /** Waits until everything so far is on the disk. */
  seal(): void {
    this.commit();
    this.database.pragma('wal_checkpoint(TRUNCATE)');
  }

  /** A change that was begun and not made is forgotten. */
  close(): void {
    try {
      if (this.#isHeld) this.rollBack();
      this.commit();
    } finally {
      this.database.close();
    }
  }
}

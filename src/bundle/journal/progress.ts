import type { Database } from '../format/database.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { livesUnderManifests } from '../../oci/media-types.js';
import type { Repository } from '../../oci/reference.js';
import { pagedRows } from '../format/sqlite.js';
import { journalError } from './journal-database.js';

/** A blob whose content still has to be downloaded, or checked again. */
export interface PendingBlob {
  readonly descriptor: Descriptor;
  /** The repository to download it from. */
  readonly repository: Repository;
  /** Position of its content in the file. */
  readonly position: number;
  /**
   * Bytes from its start that an earlier run recorded as written, up to its size. A hint: the transfer hashes them again and
   * starts over if the blob's digest is wrong.
   */
  readonly have: number;
  /** Digests of its first bytes that an earlier run recorded, shortest first. */
  readonly checkpoints: readonly Checkpoint[];
}

/** The digest of a blob's first bytes at the time they were written. */
export interface Checkpoint {
  readonly bytes: number;
  /** In the algorithm of the blob's own digest. */
  readonly digest: Uint8Array;
}

/** How much of a blob is written. */
export interface Mark {
  readonly digest: Digest;
  /** Bytes written, from the blob's start. */
  readonly have: number;
  /** Digest of these bytes in the blob's own algorithm; undefined for bytes found without a journal. */
  readonly checkpoint?: Uint8Array | undefined;
  /** The blob's first mark in this run, or since it started over: checkpoints of `have` bytes and more are out of date. */
  readonly isFirst?: boolean | undefined;
  /** The whole blob is written and its digest is right. */
  readonly done: boolean;
}

/** Totals of the blobs that this run has not finished. */
export interface PendingTotals {
  readonly blobs: number;
  /** Bytes that are not written yet. */
  readonly bytes: number;
  /** Bytes that an earlier run wrote. */
  readonly written: number;
}

interface PendingRow {
  readonly id: number;
  readonly digest: Digest;
  readonly size: number;
  readonly offset: number;
  readonly mediaType: string;
  readonly urls: string | null;
  readonly registry: string;
  readonly repository: string;
  readonly have: number;
}

/** Rows per query: marks are written while blobs are transferred. */
const pageRows = 256;

const isPending = `"offset" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contents WHERE blob = blobs.id)
  AND coalesce(marks.done, 0) = 0`;

const columns = `SELECT id, digest, size, "offset", media_type AS mediaType, urls, registry, repository,
    iif(marks.position = @start + "offset", max(0, min(size, have)), 0) AS have
  FROM blobs LEFT JOIN marks ON marks.blob = blobs.id`;

/** The journal's tables of progress: how much of each blob of a laid-out plan is written. */
export class Progress {
  readonly #database: Database;
  readonly #statements;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = {
      totals: database.prepare(
        `SELECT count(*) AS blobs, coalesce(sum(size - min(size, coalesce(have, 0))), 0) AS bytes,
          coalesce(sum(min(size, coalesce(have, 0))), 0) AS written
        FROM blobs LEFT JOIN marks ON marks.blob = blobs.id WHERE ${isPending}`,
      ),
      pageInOrder: database.prepare(`${columns}
        WHERE "offset" > @offset AND ${isPending} ORDER BY "offset" LIMIT ${pageRows}`),
      page: database.prepare(
        `${columns}
        WHERE (size < @size OR (size = @size AND id > @id)) AND ${isPending}
        ORDER BY size DESC, id LIMIT ${pageRows}`,
      ),
      checkpoints: database.prepare(
        'SELECT bytes, digest FROM checkpoints WHERE blob = ? AND bytes <= ? ORDER BY bytes',
      ),
      hasBytes: database.prepare('SELECT EXISTS (SELECT 1 FROM marks WHERE have > 0)').pluck(),
      mark: database.prepare(
        `INSERT INTO marks (blob, position, have, done)
        SELECT id, ? + "offset", min(?, size), ? FROM blobs WHERE digest = ? AND "offset" IS NOT NULL
        ON CONFLICT (blob) DO UPDATE SET position = excluded.position, have = excluded.have, done = excluded.done`,
      ),
      dropCheckpoints: database.prepare(
        'DELETE FROM checkpoints WHERE blob = (SELECT id FROM blobs WHERE digest = ?) AND bytes >= ?',
      ),
      addCheckpoint: database.prepare(
        'INSERT OR REPLACE INTO checkpoints (blob, bytes, digest) SELECT id, min(?, size), ? FROM blobs WHERE digest = ?',
      ),
    };
  }

  totals(): PendingTotals {
    return this.#statements.totals.get() as PendingTotals;
  }

  /**
   * Yields the blobs that this run has not finished.
   * @param start position of the first blob's header, from which offsets count
   * @param isInOrder in file order; else largest first
   */
  *pending(start: number, isInOrder: boolean): Iterable<PendingBlob> {
    const { page, pageInOrder, checkpoints } = this.#statements;
    const rows = pagedRows<PendingRow>(pageRows, (last) =>
      isInOrder
        ? pageInOrder.all({ start, offset: last?.offset ?? -1 })
        : page.all({ start, size: last?.size ?? Number.MAX_SAFE_INTEGER, id: last?.id ?? 0 }),
    );
    for (const row of rows) {
      yield {
        descriptor: {
          mediaType: row.mediaType,
          digest: row.digest,
          size: row.size,
          urls: row.urls === null ? undefined : (JSON.parse(row.urls) as string[]),
          // The journal holds the content of all manifests, so that a pending blob is always a config or layer.
          ...(livesUnderManifests(row) ? { isBlob: true as const } : {}),
        },
        repository: { registry: row.registry, repository: row.repository },
        position: start + row.offset,
        have: row.have,
        checkpoints: row.have === 0 ? [] : (checkpoints.all(row.id, row.have) as Checkpoint[]),
      };
    }
  }

  /** Reports whether any bytes of blobs are recorded as written. */
  get hasBytes(): boolean {
    return this.#statements.hasBytes.get() === 1;
  }

  /** @param start position of the first blob's header, from which offsets count */
  record(marks: Iterable<Mark>, start: number): void {
    const { mark, dropCheckpoints, addCheckpoint } = this.#statements;
    this.#database.transaction(() => {
      for (const { digest, have, checkpoint, done, isFirst } of marks) {
        mark.run(start, have, done ? 1 : 0, digest);
        // A blob that starts over no longer has its old bytes.
        if (isFirst === true) dropCheckpoints.run(digest, have);
        if (checkpoint !== undefined) addCheckpoint.run(have, checkpoint, digest);
      }
    })();
  }

  /**
   * Clears what marks of an earlier run cannot prove: that a blob is complete, and bytes beyond the end of the file.
   * @param fileSize bytes of the file
   */
  clip(fileSize: number): void {
    this.#database.exec(`
      DELETE FROM marks WHERE typeof(position) <> 'integer' OR position < 0 OR typeof(have) <> 'integer';
      UPDATE marks SET done = 0, have = max(0, min(have, ${fileSize} - position));
    `);
  }
}

/** The longest that a mark waits to be written (milliseconds). */
const maxWait = 20;
/** Bytes of unrecorded progress that force a flush. */
const maxBytes = 8 * 1024 * 1024;
/** Blobs with unrecorded progress that force a flush. */
const maxBlobs = 512;
/** Typical bytes of one write of a transfer. */
const typicalWrite = 256 * 1024;

/**
 * Batches marks, so that many are written in one transaction. A killed process loses the marks of its last batch, and the next run
 * downloads those bytes again. Marks are not synced: after a power loss they may claim bytes that never reached the disk, which
 * their checkpoints reveal.
 */
export class MarkBatcher {
  readonly #waiting = new Map<Digest, Mark>();
  /** Bytes written of each unfinished blob, as of its latest mark. */
  readonly #reached = new Map<Digest, number>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;

  /**
   * @param path of the journal, for error messages
   * @param record writes a batch to the journal
   */
  constructor(
    private readonly path: string,
    private readonly record: (marks: Iterable<Mark>) => void,
  ) {}

  /**
   * Records that the first `have` bytes of a blob are written.
   * @param checkpoint their digest, in the blob's own algorithm
   * @throws AirliftError `no-space`, `io` if an earlier batch could not be written
   */
  progress(digest: Digest, have: number, checkpoint: Uint8Array | undefined): void {
    const isAhead = have > (this.#reached.get(digest) ?? Infinity);
    const isFirst = !isAhead || this.#waiting.get(digest)?.isFirst === true;
    this.#reached.set(digest, have);
    this.#add({ digest, have, checkpoint, isFirst, done: false });
  }

  /** Records that a blob is written completely and that its digest is right. */
  complete(digest: Digest): void {
    this.#reached.delete(digest);
    this.#add({ digest, have: Number.MAX_SAFE_INTEGER, done: true });
  }

  #add(mark: Mark): void {
    if (this.#failure !== undefined) throw journalError(`write ${this.path}`, this.#failure);
    // After a flush the blob's previous progress is not known here, so it is taken for one typical write.
    const before = this.#waiting.get(mark.digest)?.have ?? mark.have - typicalWrite;
    this.#bytes += mark.done ? typicalWrite : Math.max(0, mark.have - before);
    this.#waiting.set(mark.digest, mark);
    if (this.#bytes >= maxBytes || this.#waiting.size >= maxBlobs) this.flush();
    else this.#timer ??= setTimeout(() => this.#flushByTimer(), maxWait).unref();
  }

  #flushByTimer(): void {
    try {
      this.flush();
    } catch (error) {
      this.#failure = error;
    }
  }

  /** @throws AirliftError `no-space`, `io` */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#bytes = 0;
    // A flush by the timer lost its marks: without its error their blobs would seem to be missing.
    if (this.#failure !== undefined) throw journalError(`write ${this.path}`, this.#failure);
    if (this.#waiting.size === 0) return;
    const marks = [...this.#waiting.values()];
    this.#waiting.clear();
    try {
      this.record(marks);
    } catch (error) {
      throw journalError(`write ${this.path}`, error);
    }
  }

  /** Discards waiting marks. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }
}

import type { Digest } from '../../oci/digest.js';
import { journalError } from './journal-database.js';
import type { Journal } from './journal.js';
import type { Mark } from '../format/planned.js';

/** A mark waits no longer than this (milliseconds) … */
const longestWait = 20;
/** … and no longer than until so many bytes … */
const mostBytes = 8 * 1024 * 1024;
/** … or so many blobs are unmarked. */
const mostBlobs = 512;
/** Bytes of one write of a transfer, about. */
const usualWrite = 256 * 1024;

/**
 * Marks in the journal how far each blob is, many at a time. A process that is killed loses the marks that waited: the bytes
 * behind them are fetched again. Marks are not synced: after a loss of power they may claim bytes that the disk never got, which
 * their checkpoints find out.
 */
export class Marks {
  readonly #waiting = new Map<Digest, Mark>();
  /** How far blobs that are under way had come at their last mark. */
  readonly #reached = new Map<Digest, number>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;

  constructor(private readonly journal: Journal) {}

  /**
   * The first `have` bytes of a blob are written.
   * @param checkpoint their digest, by the blob's own algorithm
   * @throws AirliftError `no-space`, `io` where an earlier mark could not be written
   */
  progress(digest: Digest, have: number, checkpoint: Uint8Array | undefined): void {
    const isAhead = have > (this.#reached.get(digest) ?? Infinity);
    const isFirst = !isAhead || this.#waiting.get(digest)?.isFirst === true;
    this.#reached.set(digest, have);
    this.#add({ digest, have, checkpoint, isFirst, done: false });
  }

  /** All of a blob is written, and its digest is right. */
  complete(digest: Digest): void {
    this.#reached.delete(digest);
    this.#add({ digest, have: Number.MAX_SAFE_INTEGER, done: true });
  }

  #add(mark: Mark): void {
    if (this.#failure !== undefined) throw journalError(`write ${this.journal.path}`, this.#failure);
    const before = this.#waiting.get(mark.digest)?.have ?? mark.have - usualWrite;
    // Of what went before the last flush nothing is known here: one usual write is taken for it.
    this.#bytes += mark.done ? usualWrite : Math.max(0, mark.have - before);
    this.#waiting.set(mark.digest, mark);
    if (this.#bytes >= mostBytes || this.#waiting.size >= mostBlobs) this.flush();
    else this.#timer ??= setTimeout(() => this.#flushLater(), longestWait).unref();
  }

  #flushLater(): void {
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
    // The marks that a flush by the timer lost: without its error their blobs would seem to be missing.
    if (this.#failure !== undefined) throw journalError(`write ${this.journal.path}`, this.#failure);
    if (this.#waiting.size === 0) return;
    const marks = [...this.#waiting.values()];
    this.#waiting.clear();
    try {
      this.journal.mark(marks);
    } catch (error) {
      throw journalError(`write ${this.journal.path}`, error);
    }
  }

  /** Forgets the marks that wait. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }
}

/** Takes back what marks of an earlier run can't know: that a blob is right, and bytes behind the end of the file. */
export function clipMarks(journal: Journal, fileSize: number): void {
  journal.database.exec(`
    DELETE FROM marks WHERE typeof(position) <> 'integer' OR position < 0 OR typeof(have) <> 'integer';
    UPDATE marks SET done = 0, have = max(0, min(have, ${fileSize} - position));
  `);
}

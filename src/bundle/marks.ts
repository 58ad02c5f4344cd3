import type { Digest } from '../oci/digest.js';
import type { Journal } from './journal.js';

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
 * the digest of the whole blob finds out.
 */
export class Marks {
  readonly #waiting = new Map<Digest, { have: number; done: boolean }>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;

  constructor(private readonly journal: Journal) {}

  /**
   * The first `have` bytes of a blob are written.
   * @throws AirliftError where an earlier mark could not be written
   */
  progress(digest: Digest, have: number): void {
    this.#add(digest, have, false);
  }

  /** All of a blob is written, and its digest is right. */
  complete(digest: Digest): void {
    this.#add(digest, Number.MAX_SAFE_INTEGER, true);
  }

  #add(digest: Digest, have: number, done: boolean): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
    const before = this.#waiting.get(digest);
    // Of what went before the last flush nothing is known here: one usual write is taken for it.
    this.#bytes += done ? usualWrite : Math.max(0, have - (before?.have ?? have - usualWrite));
    this.#waiting.set(digest, { have, done });
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

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#bytes = 0;
    if (this.#waiting.size === 0) return;
    const marks = [...this.#waiting].map(([digest, mark]) => ({ digest, ...mark }));
    this.#waiting.clear();
    this.journal.mark(marks);
  }

  /** Forgets the marks that wait. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }
}

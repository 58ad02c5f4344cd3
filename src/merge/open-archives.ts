import type { Archive } from '../archive/read/archive.js';

/**
 * Archives that are opened one after the other. Each is read while the next ones are opened, because a compressed archive is
 * decompressed when it is opened.
 */
export class OpenArchives {
  readonly all: Archive[] = [];
  readonly #stop = new AbortController();
  readonly #onAbort = (): void => this.#stop.abort(this.outer?.reason);
  #reading = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  /** @param outer the signal of the run */
  constructor(private readonly outer: AbortSignal | undefined) {
    outer?.addEventListener('abort', this.#onAbort, { once: true });
    if (outer?.aborted === true) this.#onAbort();
  }

  /** The signal for opening and reading the archives: it is aborted with the run, and when an archive cannot be opened or read. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Adds an archive and reads its images after those of the earlier archives. */
  add(archive: Archive): void {
    this.all.push(archive);
    this.#reading = this.#reading.then(() => this.#read(archive));
  }

  /**
   * Closes the archives after a failure.
   * @param error what opening or merging threw
   * @returns the error of the run: that of reading, where it has aborted the opening of another archive
   */
  async fail(error: unknown): Promise<unknown> {
    this.#stop.abort();
    await this.close();
    return this.outer?.aborted === true ? error : (this.#failure?.error ?? error);
  }

  async close(): Promise<void> {
    this.outer?.removeEventListener('abort', this.#onAbort);
    await this.#reading;
    await Promise.all(this.all.map((archive) => archive.close()));
  }

  async #read(archive: Archive): Promise<void> {
    if (this.signal.aborted) return;
    try {
      // The archive keeps its images, and throws the same error when they are listed again.
      for await (const image of archive.images()) void image;
    } catch (error) {
      if (!this.signal.aborted) this.#failure = { error };
      this.#stop.abort();
    }
  }
}

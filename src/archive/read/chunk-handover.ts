/** Hands chunks to a second reader, which reads at the pace of the first one and may stop before the end. */
export class ChunkHandover implements AsyncIterable<Uint8Array> {
  /** Answers the reader that waits for a chunk. */
  #answer: ((result: IteratorResult<Uint8Array>) => void) | undefined;
  #wake: (() => void) | undefined;
  #isOver = false;

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () =>
        new Promise((resolve) => {
          this.#answer = resolve;
          this.#wake?.();
        }),
    };
  }

  /** Hands over a chunk, and returns when the reader has consumed it or has stopped: its memory may then be used again. */
  async give(chunk: Uint8Array): Promise<void> {
    await this.#answered({ done: false, value: chunk });
    await this.#waiting();
  }

  /** Tells the reader that there are no more chunks. */
  end(): Promise<void> {
    return this.#answered({ done: true, value: undefined });
  }

  /** Tells the writer that the reader has stopped. */
  stop(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  async #answered(result: IteratorResult<Uint8Array>): Promise<void> {
    await this.#waiting();
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(result);
  }

  /** Waits until the reader wants a chunk or has stopped. */
  async #waiting(): Promise<void> {
    if (this.#answer === undefined && !this.#isOver)
      await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

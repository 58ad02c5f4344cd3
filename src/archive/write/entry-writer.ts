/** Writes the files of an archive or an OCI layout, one after another. */
export interface EntryWriter {
  /**
   * Adds a file.
   * @param size exact number of bytes of the content
   * @throws AirliftError `io`, `no-space`; errors of the content
   */
  add(name: string, size: number, content: AsyncIterable<Buffer>): Promise<void>;
  /**
   * Completes the archive and gives it its final name.
   * @returns total bytes written
   */
  finish(): Promise<number>;
  /** Removes the incomplete archive. */
  discard(): Promise<void>;
}

/** Yields bytes in memory as content. */
export async function* contentOf(bytes: Uint8Array | string): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from(bytes as Uint8Array));
}

/** Takes the files that an archive or an OCI layout is made of, one after another. */
export interface EntryWriter {
  /**
   * Adds a file.
   * @param size bytes of the content, no more and no fewer
   * @throws AirliftError `io`, `no-space`; what the content fails with
   */
  add(name: string, size: number, content: AsyncIterable<Buffer>): Promise<void>;
  /**
   * Ends the archive and gives it its name.
   * @returns bytes of all that was written
   */
  finish(): Promise<number>;
  /** Removes what was written. */
  discard(): Promise<void>;
}

/** Bytes in memory as content. */
export async function* contentOf(bytes: Uint8Array | string): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from(bytes as Uint8Array));
}

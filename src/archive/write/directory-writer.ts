import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectory } from '../../io/directories.js';
import { onFile, partialName } from '../io/output-file.js';
import type { EntryWriter } from './entry-writer.js';

/** Writes a directory that is `NAME.partial` until it is complete. */
export class DirectoryWriter implements EntryWriter {
  readonly #partial: string;
  #size = 0;

  private constructor(private readonly path: string) {
    this.#partial = partialName(path);
  }

  /**
   * Creates `path.partial`, replacing the one of an earlier run.
   * @throws AirliftError `io`
   */
  static async create(path: string): Promise<DirectoryWriter> {
    const writer = new DirectoryWriter(path);
    await rm(writer.#partial, { recursive: true, force: true });
    await onFile(path, makeDirectory(writer.#partial));
    return writer;
  }

  async add(name: string, size: number, content: AsyncIterable<Buffer>): Promise<void> {
    const path = join(this.#partial, name);
    await onFile(path, makeDirectory(dirname(path)));
    const file = await onFile(path, open(path, 'wx'));
    try {
      for await (const chunk of content) await onFile(path, file.writeFile(chunk));
      await onFile(path, file.sync());
    } finally {
      await file.close();
    }
    this.#size += size;
  }

  async finish(): Promise<number> {
    await onFile(this.path, rename(this.#partial, this.path));
    return this.#size;
  }

  async discard(): Promise<void> {
    await rm(this.#partial, { recursive: true, force: true });
  }
}

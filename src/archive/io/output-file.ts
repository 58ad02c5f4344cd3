import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { AirliftError, isOutOfSpace, messageOf } from '../../errors.js';

/** Returns the error for a file that could not be written. */
function writeFailed(path: string, cause: unknown): AirliftError {
  const full = isOutOfSpace(cause);
  return new AirliftError(full ? 'no-space' : 'io', `write ${path}: ${messageOf(cause)}`, { cause });
}

/**
 * Awaits a file operation and adds the file's name to its error.
 * @throws AirliftError `io`, `no-space`
 */
export async function onFile<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw writeFailed(path, error);
  }
}

/** A file that is `NAME.partial` until it is complete. */
export class OutputFile {
  #size = 0;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /**
   * Creates `path.partial`, replacing the one of an earlier run.
   * @throws AirliftError `io`
   */
  static async create(path: string): Promise<OutputFile> {
    return new OutputFile(path, await onFile(path, open(partialName(path), 'w')));
  }

  /** Bytes written. */
  get size(): number {
    return this.#size;
  }

  /** @throws AirliftError `io`, `no-space` */
  async write(chunk: Buffer): Promise<void> {
    await onFile(this.path, this.file.writeFile(chunk));
    this.#size += chunk.byteLength;
  }

  /** Syncs the file and gives it its final name. */
  async commit(): Promise<void> {
    await onFile(this.path, this.file.sync());
    await onFile(this.path, this.file.close());
    await onFile(this.path, rename(partialName(this.path), this.path));
  }

  /** Removes the partial file. */
  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(partialName(this.path), { force: true });
  }
}

/** Returns the name of an incomplete file or directory. */
export function partialName(path: string): string {
  return `${path.replace(/\/+$/, '')}.partial`;
}

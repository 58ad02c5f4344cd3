import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { AirliftError, isOutOfSpace, messageOf } from '../../errors.js';

/** The error of a file that could not be written. */
function writeFailed(path: string, cause: unknown): AirliftError {
  const full = isOutOfSpace(cause);
  return new AirliftError(full ? 'no-space' : 'io', `write ${path}: ${messageOf(cause)}`, { cause });
}

/**
 * Runs a file operation and names the file where it fails.
 * @throws AirliftError `io`, `no-space`
 */
export async function onFile<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw writeFailed(path, error);
  }
}

/** A file that has its name only once it is whole: until then it is `NAME.partial`. */
export class OutputFile {
  #size = 0;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /**
   * Begins `path.partial`, over what an earlier run may have left of it.
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

  /** Gives the file its name. */
  async commit(): Promise<void> {
    await onFile(this.path, this.file.sync());
    await onFile(this.path, this.file.close());
    await onFile(this.path, rename(partialName(this.path), this.path));
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(partialName(this.path), { force: true });
  }
}

/** What something is called while it is not whole. */
export function partialName(path: string): string {
  return `${path.replace(/\/+$/, '')}.partial`;
}

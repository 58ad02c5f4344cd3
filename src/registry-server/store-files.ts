import { randomUUID } from 'node:crypto';
import { fdatasync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { makeDirectory } from '../io/directories.js';
import { AirliftError, isMissingPath, isOutOfSpace, messageOf, systemCodeOf } from '../errors.js';
import { FileCalls } from './file-calls.js';

const datasync = promisify(fdatasync);

/** Smaller files are checked against their digest when they are read; larger ones are synced to the disk before they get their name. */
export const smallFileSize = 64 * 1024;

/** Converts an error of the operating system into an AirliftError: `no-space` or `io`. */
export function storeError(attempted: string, error: unknown): AirliftError {
  if (error instanceof AirliftError) return error;
  const code = isOutOfSpace(error) ? 'no-space' : 'io';
  return new AirliftError(code, `${attempted}: ${messageOf(error)}`, { cause: error });
}

/** Returns the result of `operation`, or undefined if a file that it needs does not exist. */
export async function ifPresent<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (isMissingPath(error)) return undefined;
    throw storeError('read the store', error);
  }
}

/** Suffix that a file's name gets before the file is removed: see {@link collect}. */
const collectedSuffix = '.collected';

/** Returns the name of a file that is being collected, or whose collection was interrupted; undefined for any other name. */
export function nameBeforeCollection(name: string): string | undefined {
  return name.endsWith(collectedSuffix) ? name.slice(0, -collectedSuffix.length) : undefined;
}

/** Takes a file back from a collection, by its old name. Returns whether it was being collected. */
export async function restore(path: string): Promise<boolean> {
  const renamed = rename(`${path}${collectedSuffix}`, path).then(() => true);
  return (await ifPresent(renamed)) ?? false;
}

/**
 * Removes a file unless it was changed or refreshed since `cutoff`. It renames the file, then checks its time again. The check sees a refresh
 * before the rename; a refresh after the rename takes the file back, or finds it gone. So no process needs a lock.
 * @param cutoff milliseconds since 1970
 * @returns whether the file is gone
 */
export async function collect(path: string, cutoff: number): Promise<boolean> {
  const renamed = `${path}${collectedSuffix}`;
  const before = await ifPresent(stat(path));
  if (before === undefined) return true;
  if (before.mtimeMs >= cutoff) return false;
  if ((await ifPresent(rename(path, renamed).then(() => true))) === undefined) return true;
  const last = await ifPresent(stat(renamed));
  if (last !== undefined && last.mtimeMs >= cutoff) {
    await restore(path);
    return false;
  }
  return await removeFile(renamed);
}

/** Removes a file. Returns whether it existed. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await rm(path);
    return true;
  } catch (error) {
    if (isMissingPath(error)) return false;
    throw storeError('remove from the store', error);
  }
}

/** Reads and writes the files of a store. */
export class StoreFiles {
  readonly calls = new FileCalls();

  /** Like `ifPresent`, but takes the file back first if it is being collected: a client must not miss a file that stays in the end. */
  async ifKept<T>(path: string, operation: () => Promise<T | undefined>): Promise<T | undefined> {
    const found = await ifPresent(operation());
    if (found !== undefined) return found;
    const collected = `${path}${collectedSuffix}`;
    if ((await ifPresent(this.calls.sizeOf(collected))) === undefined) return undefined;
    const restored = await ifPresent(this.calls.rename(collected, path).then(() => true));
    return restored === true ? await ifPresent(operation()) : undefined;
  }

  async exists(path: string): Promise<boolean> {
    return (await this.ifKept(path, () => this.calls.sizeOf(path))) !== undefined;
  }

  /** Sets a file's modification time to now, so that a collection that runs keeps it. Returns whether the file exists. */
  async refresh(path: string): Promise<boolean> {
    return (await this.ifKept(path, () => this.calls.touch(path).then(() => true))) ?? false;
  }

  /**
   * Reads a file, unless it is larger than `limit`.
   * @returns its size, and its content unless it is too large; undefined if it does not exist
   */
  async read(
    path: string,
    limit: number,
  ): Promise<{ readonly size: number; readonly bytes: Buffer | undefined } | undefined> {
    const { calls } = this;
    const descriptor = await this.ifKept(path, () => calls.open(path, 'r'));
    if (descriptor === undefined) return undefined;
    try {
      const size = Number((await calls.fstat(descriptor)).size);
      if (size > limit) return { size, bytes: undefined };
      const bytes = Buffer.allocUnsafe(size);
      const length = size === 0 ? 0 : await calls.read(descriptor, bytes, size, 0);
      return { size, bytes: bytes.subarray(0, length) };
    } catch (error) {
      throw storeError('read the store', error);
    } finally {
      await calls.close(descriptor);
    }
  }

  /** Reads a text file; undefined if it does not exist. */
  async readText(path: string): Promise<string | undefined> {
    return (await this.read(path, Infinity))?.bytes?.toString('utf8');
  }

  /** Creates an empty file, or refreshes an existing one: its name alone carries the information. */
  async mark(path: string): Promise<void> {
    const { calls } = this;
    const create = async (flags: 'a' | 'wx'): Promise<void> => calls.close(await calls.open(path, flags));
    await inFolder(dirname(path), async () => {
      try {
        await create('wx');
      } catch (error) {
        if (systemCodeOf(error) !== 'EEXIST') throw error;
        // A collection may have removed it meanwhile.
        if (!(await this.refresh(path))) await create('a');
      }
    });
  }

  /** Renames the file `from` to `to` and replaces an existing file. */
  async moveInto(from: string, to: string): Promise<void> {
    await inFolder(dirname(to), () => this.calls.rename(from, to));
  }

  /** Writes a small file atomically: to `scratch` first, then renamed to its path. */
  async writeWhole(scratch: string, path: string, bytes: Uint8Array): Promise<void> {
    const temporary = join(scratch, `${randomUUID()}.new`);
    try {
      await inFolder(scratch, () => this.#create(temporary, bytes));
      await this.moveInto(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** Writes all of `batch`, `size` bytes together, to the end of an open file. */
  async append(descriptor: number, batch: readonly Uint8Array[], size: number): Promise<void> {
    const written = await this.calls.write(descriptor, batch, size);
    if (written < size)
      await this.append(descriptor, [Buffer.concat(batch).subarray(written)], size - written);
  }

  async #create(path: string, bytes: Uint8Array): Promise<void> {
    const { calls } = this;
    const descriptor = await calls.open(path, 'wx');
    try {
      await this.append(descriptor, [bytes], bytes.length);
      if (bytes.length >= smallFileSize) await datasync(descriptor);
    } finally {
      await calls.close(descriptor);
    }
  }
}

/** Runs `operation`; if `folder` is missing, creates it and runs `operation` again. Most folders exist, so checking first would cost more. */
export async function inFolder<T>(folder: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    if (!isMissingPath(error)) throw storeError('write to the store', error);
  }
  try {
    await makeDirectory(folder);
    return await operation();
  } catch (error) {
    throw storeError('write to the store', error);
  }
}

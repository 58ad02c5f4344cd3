import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, stat, utimes, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectory } from '../io/directories.js';
import { AirliftError, isMissingPath, isOutOfSpace, messageOf } from '../errors.js';

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

/** Like `ifPresent`, but takes the file back first if it is being collected: a client must not miss a file that stays in the end. */
export async function ifKept<T>(path: string, operation: () => Promise<T>): Promise<T | undefined> {
  const found = await ifPresent(operation());
  if (found !== undefined) return found;
  return (await restore(path)) ? await ifPresent(operation()) : undefined;
}

/** Sets a file's modification time to now, so that a collection that runs keeps it. Returns whether the file exists. */
export async function refresh(path: string): Promise<boolean> {
  const now = new Date();
  return (await ifKept(path, () => utimes(path, now, now).then(() => true))) ?? false;
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

/** Renames the file `from` to `to` and replaces an existing file. */
export async function moveInto(from: string, to: string): Promise<void> {
  await inFolder(dirname(to), () => rename(from, to));
}

/** Writes a small file atomically: to `scratch` first, then renamed to its path. */
export async function writeWhole(scratch: string, path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = join(scratch, `${randomUUID()}.new`);
  try {
    await inFolder(scratch, async () => {
      const file = await open(temporary, 'wx');
      try {
        await file.writeFile(bytes);
        if (bytes.length >= smallFileSize) await file.datasync();
      } finally {
        await file.close();
      }
    });
    await moveInto(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Reads a small text file; undefined if it does not exist. */
export async function readText(path: string): Promise<string | undefined> {
  return await ifKept(path, () => readFile(path, 'utf8'));
}

/** Creates an empty file unless it exists: its name alone carries the information. */
export async function touch(path: string): Promise<void> {
  await inFolder(dirname(path), async () => {
    const file: FileHandle = await open(path, 'a');
    await file.close();
  });
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

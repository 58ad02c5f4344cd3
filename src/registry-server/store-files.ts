import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectory } from '../io/directories.js';
import { AirliftError, isOutOfSpace, messageOf, systemCodeOf } from '../errors.js';

/** Files that are smaller are checked against their digest when read, larger ones are synced before they get their name. */
export const smallFileSize = 64 * 1024;

/** Turns what the operating system says into an AirliftError: `no-space` or `io`. */
export function storeError(attempted: string, error: unknown): AirliftError {
  if (error instanceof AirliftError) return error;
  const code = isOutOfSpace(error) ? 'no-space' : 'io';
  return new AirliftError(code, `${attempted}: ${messageOf(error)}`, { cause: error });
}

/** Whether a file system call failed because there is no such file. */
export function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '');
}

/** What `operation` gives, or undefined where a file that it needs is missing. */
export async function ifPresent<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw storeError('read the store', error);
  }
}

/** Runs `operation`, and again after making `folder` where that was missing: most folders exist, so none is looked for first. */
export async function inFolder<T>(folder: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    if (!isMissing(error)) throw storeError('write to the store', error);
  }
  try {
    await makeDirectory(folder);
    return await operation();
  } catch (error) {
    throw storeError('write to the store', error);
  }
}

/** Gives the file `from` the name `to`, in place of what stands there. */
export async function moveInto(from: string, to: string): Promise<void> {
  await inFolder(dirname(to), () => rename(from, to));
}

/** Writes a small file so that a reader sees all of it or none: under a name in `scratch` first. */
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

/** A small text file's content, or undefined where it is missing. */
export async function readText(path: string): Promise<string | undefined> {
  return await ifPresent(readFile(path, 'utf8'));
}

/** Makes an empty file whose name alone says something, where it is not there yet. */
export async function touch(path: string): Promise<void> {
  await inFolder(dirname(path), async () => {
    const file: FileHandle = await open(path, 'a');
    await file.close();
  });
}

/** Removes a file. Gives whether it was there. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await rm(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw storeError('remove from the store', error);
  }
}

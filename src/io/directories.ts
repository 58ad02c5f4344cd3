import { lstat, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AirliftError, isMissingPath, systemCodeOf } from '../errors.js';

/**
 * Creates a directory and its parents. Node's `mkdir` with `recursive` never returns if a parent can be neither found nor created, as
 * below /proc (`MKDirpAsync` starts over at each ENOENT).
 * @param mode the mode of created directories
 * @throws the system's error
 */
export async function makeDirectory(path: string, mode = 0o777): Promise<void> {
  if (await createOne(path, mode)) return;
  await makeDirectory(dirname(path), mode);
  // The parent exists now, so another ENOENT has another cause.
  if (!(await createOne(path, mode))) await mkdir(path, { mode });
}

/** Creates one directory unless it exists; returns false where its parent is missing. */
async function createOne(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    const code = systemCodeOf(error);
    // An existing directory can give another error than EEXIST: on read-only filesystems, and for `/` and `.`.
    if (code !== 'ENOENT') {
      if (await isDirectory(path)) return true;
      throw error;
    }
    if (dirname(path) === path) throw error;
    return false;
  }
}

/** Reports whether a name is taken, even by a broken link. */
export async function isTaken(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** Reports whether a path could not be read because it does not exist, or because this user may not search a directory on the way. */
export async function isAbsent(path: string, error: unknown): Promise<boolean> {
  return isMissingPath(error) || isHidden(path);
}

/** Reports whether a path leads through a directory that this user may not search. */
async function isHidden(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: unknown) => systemCodeOf(error) === 'EACCES',
  );
}

/** Reports whether a path stands for a directory: it ends in a separator, or a directory exists there. */
export async function namesDirectory(path: string): Promise<boolean> {
  return /[/\\]$/.test(path) || (await isDirectory(path));
}

/**
 * Rejects a directory as the path of an output file, before any download starts.
 * @param option the option or flag that gave the path, for the hint
 * @throws AirliftError `usage` with the name of a possible file
 */
export async function refuseDirectory(path: string, option: string, example: string): Promise<void> {
  if (!(await namesDirectory(path))) return;
  throw new AirliftError('usage', `write ${path}: is a directory; want a file`, {
    hint: `choose a file in it: ${option} ${join(path, example)}`,
  });
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

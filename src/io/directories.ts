import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCodeOf } from '../errors.js';

/**
 * Makes a directory and those above it. `mkdir` with `recursive` never returns where a parent can neither be found nor made, as below
 * /proc (nodejs/node, `MKDirpAsync` starts over at each ENOENT).
 * @param mode of the directories that are made
 * @throws the system's error
 */
export async function makeDirectory(path: string, mode = 0o777): Promise<void> {
  if (await isMade(path, mode)) return;
  await makeDirectory(dirname(path), mode);
  // Where the parent is there now, what is missing still is no parent.
  if (!(await isMade(path, mode))) await mkdir(path, { mode });
}

/** Makes one directory; false where its parent is missing. */
async function isMade(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    const code = systemCodeOf(error);
    // Others than EEXIST come first on read-only filesystems, and for `/` and `.`.
    if (code !== 'ENOENT') {
      if (await isDirectory(path)) return true;
      throw error;
    }
    if (dirname(path) === path) throw error;
    return false;
  }
}

/** Whether a path leads through a directory that is closed to this user: nobody can say what is there. */
export async function isHidden(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: unknown) => systemCodeOf(error) === 'EACCES',
  );
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

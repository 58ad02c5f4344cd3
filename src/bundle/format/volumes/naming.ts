/** Gives written volumes their final names, so that a list with its final name means a complete set. */
import { lstat, rename, rm } from 'node:fs/promises';
import { isMissingPath } from '../../../errors.js';
import { replaceFile } from '../../../io/replace-file.js';
import { ioError } from '../io-error.js';
import { findVolumes } from './find.js';
import { formatVolumeList, listName, maxVolumes, volumeName, type VolumeList } from './list.js';

/**
 * Renames volumes from their temporary names to `path.001` …, and writes the list last. Before the first name is taken, the list is there
 * under its temporary name: with it, {@link revertNaming} undoes a part of this after a crash.
 * @param partial path of the volumes without their number
 * @param syncDirectory waits until the renamed entries are on the disk
 * @throws AirliftError `no-space`, `io`
 */
export async function nameVolumes(
  partial: string,
  path: string,
  list: VolumeList,
  syncDirectory: (path: string) => Promise<void>,
): Promise<void> {
  const marker = listName(partial);
  const count = list.volumes.length;
  try {
    await replaceFile(marker, `${marker}.new`, formatVolumeList(list));
    await syncDirectory(path);
    // From here on no list describes the volumes that are replaced.
    await rm(listName(path), { force: true });
    for (let number = 1; number <= count; number++)
      await rename(volumeName(partial, number), volumeName(path, number));
    for (let number = count + 1; number <= maxVolumes && (await exists(volumeName(path, number))); number++)
      await rm(volumeName(path, number));
    await syncDirectory(path);
    await rename(marker, listName(path));
    await syncDirectory(path);
  } catch (error) {
    throw ioError(`rename ${volumeName(partial, 1)} … to ${volumeName(path, 1)} …`, error);
  }
}

/**
 * Gives volumes their temporary names again if a run was stopped while it named them. Returns whether it was.
 * @throws AirliftError `damaged`, `io`
 */
export async function revertNaming(partial: string, path: string): Promise<boolean> {
  const marker = listName(partial);
  if (!(await exists(marker))) return false;
  const count = (await findVolumes(marker))?.volumes.length ?? 0;
  try {
    for (let number = 1; number <= count; number++) {
      const from = volumeName(path, number);
      // Every volume had its temporary name when the marker was written.
      if (!(await exists(volumeName(partial, number))) && (await exists(from)))
        await rename(from, volumeName(partial, number));
    }
    await rm(marker);
  } catch (error) {
    throw ioError(`rename ${volumeName(path, 1)} … to ${volumeName(partial, 1)} …`, error);
  }
  return true;
}

/** Removes volumes under their temporary names. */
export async function removePartial(partial: string): Promise<void> {
  for (let number = 1; number <= maxVolumes; number++) await rm(volumeName(partial, number), { force: true });
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isMissingPath(error)) return false;
    throw ioError(`open ${path}`, error);
  }
}

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { findVolumes, volumeNumberOf, type FoundVolume } from '../../bundle/format/volumes/find.js';
import { listName, volumeName, type VolumeList } from '../../bundle/format/volumes/list.js';
import { firstNames, isAirliftError, isMissingPath, messageOf } from '../../errors.js';

/** What lies in the directories where a volume is looked for. */
export interface Sighting {
  /** Files with the name and the size of the volume. */
  readonly paths: readonly string[];
  /** What the directories hold instead, one sentence each. */
  readonly instead: readonly string[];
}

/** The most names in a sentence. */
const maxNames = 5;

/**
 * Looks for a volume in directories, and describes what they hold instead: another volume of the set, or another set.
 * @param name file name of the joined bundle
 */
export async function lookForVolume(
  name: string,
  list: VolumeList,
  volume: FoundVolume,
  directories: readonly string[],
): Promise<Sighting> {
  const paths: string[] = [];
  const instead: string[] = [];
  for (const directory of directories) {
    const entries = await entriesOf(directory);
    if (typeof entries === 'string') instead.push(entries);
    if (typeof entries !== 'object') continue;
    if (entries.has(listName(name)) && !(await listsSame(join(directory, listName(name)), list))) {
      instead.push(`${directory} has volumes of another bundle: its ${listName(name)} differs`);
      continue;
    }
    if (entries.has(volume.name)) {
      const path = join(directory, volume.name);
      const found = await sizeOf(path);
      if (found === volume.size) paths.push(path);
      else
        instead.push(
          `${path} is incomplete; got ${found ?? 'no'} bytes, want ${volume.size}: copy only this volume again`,
        );
      continue;
    }
    const others = list.volumes.flatMap((_, at) => (entries.has(volumeName(name, at + 1)) ? [at + 1] : []));
    if (others.length > 0)
      instead.push(
        `${directory} has volume ${firstNames(others.map(String), maxNames)} of this set, not volume ${volume.number}`,
      );
    else {
      const foreign = [...entries].filter(isOfVolumes).sort();
      if (foreign.length > 0)
        instead.push(`${directory} has volumes of another bundle: ${firstNames(foreign, maxNames)}`);
    }
  }
  return { paths, instead };
}

/** Returns the names in a directory, undefined if it does not exist, or a sentence that says why it cannot be read. */
async function entriesOf(directory: string): Promise<ReadonlySet<string> | string | undefined> {
  try {
    return new Set(await readdir(directory));
  } catch (error) {
    return isMissingPath(error) ? undefined : `${directory} cannot be read: ${messageOf(error)}`;
  }
}

/** Reports whether a file is a copy of the list. A damaged one says nothing: each volume is compared with the list. */
async function listsSame(path: string, list: VolumeList): Promise<boolean> {
  try {
    const found = await findVolumes(path);
    return found?.list === undefined || found.list.digest === list.digest;
  } catch (error) {
    if (isAirliftError(error)) return true;
    throw error;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true ? found.size : undefined;
}

function isOfVolumes(name: string): boolean {
  return name.endsWith('.volumes') || volumeNumberOf(name) !== undefined;
}

import { readFile, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ioError } from '../bundle/format/io-error.js';
import {
  listLimits,
  listName,
  parseVolumeList,
  type Volume,
  type VolumeList,
} from '../bundle/format/volumes/list.js';
import type { VolumeSize } from '../bundle/write/file-limit.js';
import { AirliftError } from '../errors.js';
import { isTaken } from '../io/directories.js';
import { splitBundle } from '../volumes/split.js';
import { prove, type CopyFileOptions, type StowedFile } from './copy-file.js';
import { digestOfFile } from './read-back.js';

export interface CopyAsVolumesOptions extends CopyFileOptions {
  readonly volumeSize: VolumeSize;
}

/**
 * Copies a bundle as volumes, the list of them last, and proves each. Volumes of the same bundle that are there already are only proven.
 * @param to path of the bundle that the volumes make up
 * @throws AirliftError as `splitBundle`; `exists` if there are volumes of another bundle; `io` if the medium returns other bytes than were
 *   written: then the list loses its name, and the next run compares and writes the volumes again
 */
export async function copyAsVolumes(
  { from, to }: { readonly from: string; readonly to: string },
  options: CopyAsVolumesOptions,
): Promise<StowedFile[]> {
  const { volumeSize, force, onProgress, signal } = options;
  const path = listName(to);
  const isKept =
    !force && (await isTaken(path)) && (await readList(path)).digest === (await digestOf(from, options));
  if (!isKept)
    await splitBundle(from, {
      output: to,
      volumeSize,
      force,
      signal,
      onProgress: ({ bytes }) => onProgress(bytes),
    });
  const list = await readList(path);
  const files = list.volumes.map((volume) => copied(to, volume, isKept));
  const { size } = await stat(path);
  const sha256 = await digestOfFile(path, () => undefined, signal);
  files.push({ path, size, sha256, keptBytes: isKept ? size : 0 });
  try {
    for (const file of files) await prove(file.path, file.sha256, options);
  } catch (error) {
    // Without its list, the set is incomplete.
    await rename(path, listName(`${to}.partial`)).catch(() => undefined);
    throw error;
  }
  return files;
}

function copied(bundle: string, { name, size, digest }: Volume, isKept: boolean): StowedFile {
  const sha256 = digest.slice('sha256:'.length);
  return { path: join(dirname(bundle), name), size, sha256, keptBytes: isKept ? size : 0 };
}

async function digestOf(path: string, { onProgress, signal }: CopyAsVolumesOptions): Promise<string> {
  return `sha256:${await digestOfFile(path, onProgress, signal)}`;
}

async function readList(path: string): Promise<VolumeList> {
  try {
    const { size } = await stat(path);
    if (size > listLimits.bytes)
      throw new AirliftError('exists', `write ${path}: already exists, and is no list of volumes`, {
        hint: 'add `force` to replace it',
      });
    return parseVolumeList(await readFile(path, 'utf8'), path);
  } catch (error) {
    throw error instanceof AirliftError ? error : ioError(`read ${path}`, error);
  }
}

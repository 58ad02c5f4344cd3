/** Finds the volumes of a bundle, beside each other or in several directories. */
import type { Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AirliftError, isMissingPath } from '../../../errors.js';
import type { Digest } from '../../../oci/digest.js';
import { ioError } from '../io-error.js';
import { listLimits, listName, maxVolumes, parseVolumeList, volumeName, type VolumeList } from './list.js';

/** A volume, and the file that holds it. */
export interface FoundVolume {
  /** Counts from 1. */
  readonly number: number;
  readonly name: string;
  /** Position of its first byte in the bundle. */
  readonly start: number;
  /** Bytes that it should have. */
  readonly size: number;
  /** Undefined without a list. */
  readonly digest: Digest | undefined;
  /** Undefined if the file is missing. */
  readonly path: string | undefined;
  /** Bytes of the file; undefined if it is missing. */
  readonly found: number | undefined;
}

/** The volumes of one bundle. */
export interface FoundVolumes {
  /** File name of the joined bundle. */
  readonly name: string;
  /** Path of the list; undefined if there is none. */
  readonly listPath: string | undefined;
  readonly list: VolumeList | undefined;
  readonly volumes: readonly FoundVolume[];
  /** Bytes of the joined bundle. */
  readonly size: number;
  /** The directories that were searched. */
  readonly directories: readonly string[];
}

const listPattern = /^(.+)\.volumes$/;
const volumePattern = /^(.+)\.(\d{3})$/;

/** Returns the number of the volume that a path names, and the path of the bundle; undefined if it names no volume. */
export function volumeNumberOf(path: string): { bundle: string; number: number } | undefined {
  const [, bundle, digits] = volumePattern.exec(path) ?? [];
  const number = Number(digits);
  return bundle === undefined || number < 1 ? undefined : { bundle, number };
}

/**
 * Finds the volumes that a path stands for: the path of the list, of any volume, or of the joined bundle if only its volumes exist.
 * Volumes lie beside the path or in one of `directories`. Missing volumes and volumes of a wrong size are part of the result.
 * @returns undefined if the path is an ordinary file
 * @throws AirliftError `damaged` if the list is damaged, `not-found` if without a list a volume before others is missing, `io`
 */
export async function findVolumes(
  path: string,
  directories: readonly string[] = [],
): Promise<FoundVolumes | undefined> {
  const bundle = await bundleOf(path);
  if (bundle === undefined) return undefined;
  const name = basename(bundle);
  const places = [...new Set([dirname(path), ...directories])];
  for (const directory of places) {
    const listPath = join(directory, listName(name));
    const text = await readList(listPath);
    if (text === undefined) continue;
    const list = parseVolumeList(text, listPath);
    const number = volumeNumberOf(path)?.number ?? 1;
    if (number > list.volumes.length) {
      throw new AirliftError(
        'not-found',
        `open ${path}: not a volume of ${listPath}, which lists ${list.volumes.length}`,
      );
    }
    const volumes = await locate(name, list, places);
    return { name, listPath, list, volumes, size: list.size, directories: places };
  }
  return withoutList(path, name, places);
}

/** Returns the path beside which detached signatures of a bundle lie: of volumes, that of the joined bundle. */
export async function signedPath(path: string): Promise<string> {
  const found = await findVolumes(path);
  return found === undefined ? path : join(dirname(path), found.name);
}

/** Returns the path of the joined bundle if `path` may stand for volumes. */
async function bundleOf(path: string): Promise<string | undefined> {
  const [, listed] = listPattern.exec(path) ?? [];
  if (listed !== undefined) {
    const text = await readList(path);
    return text?.trimStart().startsWith('{') === true ? listed : undefined;
  }
  const isThere = (await statOf(path)) !== undefined;
  const volume = volumeNumberOf(path);
  if (volume !== undefined) return volume.bundle;
  return !isThere && (await statOf(listName(path))) !== undefined ? path : undefined;
}

/** Reads a list; undefined if there is no such file. Only the first bytes of a larger file are read: it is no list. */
async function readList(path: string): Promise<string | undefined> {
  if ((await statOf(path)) === undefined) return undefined;
  try {
    const file = await open(path);
    try {
      const buffer = Buffer.alloc(listLimits.bytes + 1);
      let length = 0;
      for (let count = -1; count !== 0; length += count)
        count = (await file.read(buffer, length, buffer.byteLength - length, length)).bytesRead;
      return buffer.toString('utf8', 0, length);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw ioError(`read ${path}`, error, { isInput: true });
  }
}

async function locate(
  name: string,
  list: VolumeList,
  directories: readonly string[],
): Promise<FoundVolume[]> {
  const volumes: FoundVolume[] = [];
  let start = 0;
  for (const [at, { size, digest }] of list.volumes.entries()) {
    const number = at + 1;
    const file = await findFile(volumeName(name, number), directories, size);
    volumes.push({ number, name: volumeName(name, number), start, size, digest, ...file });
    start += size;
  }
  return volumes;
}

/** Finds the volumes of a bundle that has no list: as many as follow each other. */
async function withoutList(
  path: string,
  name: string,
  directories: readonly string[],
): Promise<FoundVolumes | undefined> {
  const volumes: FoundVolume[] = [];
  let start = 0;
  for (let number = 1; number <= maxVolumes; number++) {
    const file = await findFile(volumeName(name, number), directories, undefined);
    if (file.path === undefined || file.found === undefined) break;
    const size = file.found;
    volumes.push({ number, name: volumeName(name, number), start, size, digest: undefined, ...file });
    start += size;
  }
  const last = volumeNumberOf(path)?.number ?? 1;
  // Any file's name may end in digits.
  if (volumes.length === 0 || (volumes.length === 1 && last === 1)) return undefined;
  const sizes = new Set(volumes.slice(0, -1).map(({ size }) => size));
  const short = volumes.slice(0, -1).find(({ size }) => size < Math.max(...sizes));
  if (short !== undefined) {
    throw new AirliftError(
      'damaged',
      `open ${path}: volume ${short.number} is smaller than others; got ${short.size} bytes, want ${Math.max(...sizes)}`,
      { hint: `copy ${short.name} again` },
    );
  }
  if (volumes.length < last) {
    const missing = volumeName(name, volumes.length + 1);
    throw new AirliftError('not-found', `open ${path}: ${missing} is missing in ${directories.join(', ')}`, {
      hint: `copy ${missing} there, or name its directory with \`volumeDirs\``,
    });
  }
  return { name, listPath: undefined, list: undefined, volumes, size: start, directories };
}

/** Finds a file in the first directory that holds it, if possible in the right size. */
async function findFile(
  name: string,
  directories: readonly string[],
  size: number | undefined,
): Promise<Pick<FoundVolume, 'path' | 'found'>> {
  let other: Pick<FoundVolume, 'path' | 'found'> = { path: undefined, found: undefined };
  for (const directory of directories) {
    const path = join(directory, name);
    const found = (await statOf(path))?.size;
    if (found === undefined) continue;
    if (size === undefined || found === size) return { path, found };
    if (other.path === undefined) other = { path, found };
  }
  return other;
}

/** Returns the properties of a regular file; undefined if there is none at the path. */
async function statOf(path: string): Promise<Stats | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found : undefined;
  } catch (error) {
    if (isMissingPath(error)) return undefined;
    throw ioError(`open ${path}`, error, { isInput: true });
  }
}

/**
 * Checks that all volumes are there in their size.
 * @param path as the caller named the bundle
 * @throws AirliftError `damaged` that names every volume to copy again
 */
export function requireAll(path: string, { volumes, directories, listPath }: FoundVolumes): void {
  const lines = volumes.flatMap((volume) => {
    const happened = absenceOf(volume, directories);
    return happened === undefined ? [] : [`${volume.name}: ${happened}`];
  });
  const [first, ...others] = lines;
  if (first === undefined) return;
  const wrong = volumes.filter((volume) => volume.found !== volume.size).map(({ name }) => name);
  throw new AirliftError('damaged', `open ${path}: ${first}`, {
    lines: others,
    hint:
      `copy only ${wrong.slice(0, 5).join(', ')}${wrong.length > 5 ? ', …' : ''} again, or name the directory with \`volumeDirs\`; ` +
      `airlift verify ${listPath ?? path} lists the images that need ${wrong.length === 1 ? 'it' : 'them'}`,
  });
}

/** Describes what a volume lacks, judging by the size of its file; undefined if it is there. */
export function absenceOf({ found, size }: FoundVolume, directories: readonly string[]): string | undefined {
  if (found === undefined) return `missing in ${directories.join(', ')}`;
  return found === size ? undefined : `wrong size; got ${found} bytes, want ${size}`;
}

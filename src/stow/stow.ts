import type { Stats } from 'node:fs';
import { readdir, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { requireFound } from '../bundle/format/volumes/damage.js';
import { findVolumes, type FoundVolumes } from '../bundle/format/volumes/find.js';
import { listName } from '../bundle/format/volumes/list.js';
import { checkDiskSpace } from '../bundle/write/disk-space.js';
import {
  bytesOfVolume,
  checkFileSize,
  filesystemOf,
  type Filesystem,
  type VolumeSize,
} from '../bundle/write/file-limit.js';
import { ioError } from '../bundle/format/io-error.js';
import { AirliftError, checkInterrupted, isAirliftError, isMissingPath } from '../errors.js';
import { makeDirectory } from '../io/directories.js';
import { listDetached } from '../signing/detached.js';
import { verify } from '../verify.js';
import { copyFile, presentBytes, prove, type StowedFile } from './copy-file.js';
import { copyAsVolumes } from './copy-as-volumes.js';
import { digestFromMedium, digestOfFile } from './read-back.js';

export interface StowOptions {
  /** Replace files of the same names with other content. */
  readonly force?: boolean | undefined;
  /**
   * Copy the bundle as volumes of this many bytes, or `fat32` for the largest that fit FAT32. Default: as it is.
   */
  readonly volumeSize?: VolumeSize | undefined;
  /**
   * Called if the system cannot read past its cache: asks the user to unplug the medium and to plug it in again, which empties the cache.
   * @param problem why the last answer did not help
   * @returns whether that was done; false ends without a proof
   */
  readonly askReplug?: ((problem: string | undefined, signal?: AbortSignal) => Promise<boolean>) | undefined;
  readonly onProgress?: ((progress: StowProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Progress of verifying the source, of copying, and of reading back. */
export interface StowProgress {
  readonly phase: 'verified' | 'copied' | 'read back';
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface StowSummary {
  readonly bundle: string;
  readonly directory: string;
  readonly files: readonly StowedFile[];
  readonly size: number;
  /** Whether every byte was read back from the medium; false if the system reads only from its cache. */
  readonly isProven: boolean;
  /** The user unplugged the medium and plugged it in again before it was read back. */
  readonly isReplugged: boolean;
}

/** A file to copy. */
export interface Item {
  readonly from: string;
  readonly to: string;
  readonly size: number;
}

/** The most files of a kit. */
const maxKitFiles = 200;

/**
 * Copies a bundle to a medium, with the signatures and the kit beside it, and proves by reading back that the medium holds every byte. After
 * an interruption the same call resumes.
 * @throws AirliftError `damaged` if the bundle is damaged already; `exists`; `no-space`, before anything is copied; `io` if the medium
 *   returns other bytes than were written; `interrupted`
 */
export async function stowBundle(
  bundle: string,
  directory: string,
  options: StowOptions = {},
): Promise<StowSummary> {
  const { onProgress, signal, volumeSize } = options;
  const items = await itemsOf(bundle, directory, volumeSize);
  const whole = items.at(-1);
  await checkFits(items, await filesystemOf(join(directory, basename(bundle))), volumeSize);
  const report = await verify(bundle, {
    signal,
    onProgress: ({ bytes, totalBytes }) => onProgress?.({ phase: 'verified', bytes, totalBytes }),
  });
  if (!report.ok)
    throw new AirliftError('damaged', `copy ${bundle}: it is damaged already`, {
      lines: report.problems.slice(0, 5).map(({ thing, detail }) => `${thing}: ${detail}`),
      hint: `airlift verify ${bundle}`,
    });
  const totalBytes = items.reduce((sum, { size }) => sum + size, 0);
  const files: StowedFile[] = [];
  let before = 0;
  let isProven = true;
  const readBack = async (path: string): Promise<string | undefined> => {
    const at = before;
    const show = (bytes: number): void => onProgress?.({ phase: 'read back', bytes: at + bytes, totalBytes });
    const got = await digestFromMedium(path, show, signal);
    if (got === undefined) isProven = false;
    return got;
  };
  for (const item of items) {
    checkInterrupted(signal, `copy ${item.from}`);
    await makeDirectory(dirname(item.to));
    const at = before;
    const show = (bytes: number): void => onProgress?.({ phase: 'copied', bytes: at + bytes, totalBytes });
    const copying = { force: options.force ?? false, onProgress: show, readBack, signal };
    if (volumeSize !== undefined && item === whole) {
      files.push(...(await copyAsVolumes(item, { ...copying, volumeSize })));
      continue;
    }
    const copied = await copyFile(item.from, item.to, copying);
    files.push({ path: item.to, size: item.size, ...copied });
    before += item.size;
  }
  const isReplugged = !isProven && (await proveReplugged(files, options));
  return { bundle, directory, files, size: totalBytes, isProven: isProven || isReplugged, isReplugged };
}

/** Has the medium unplugged and plugged in again, and reads every file. Returns false if the user does not want to. */
async function proveReplugged(
  files: readonly StowedFile[],
  { askReplug, onProgress, signal }: StowOptions,
): Promise<boolean> {
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  let problem: string | undefined;
  while ((await askReplug?.(problem, signal)) === true) {
    const missing = await firstMissing(files);
    if (missing !== undefined) {
      problem = `${missing} is not there`;
      continue;
    }
    let before = 0;
    for (const { path, size, sha256 } of files) {
      const at = before;
      const show = (bytes: number): void =>
        onProgress?.({ phase: 'read back', bytes: at + bytes, totalBytes });
      await proveOrUnname(path, sha256, (one) => digestOfFile(one, show, signal));
      before += size;
    }
    return true;
  }
  return false;
}

/** Compares a file with what was written, and takes its name away if the medium has lost bytes. */
async function proveOrUnname(
  path: string,
  sha256: string,
  readBack: (path: string) => Promise<string>,
): Promise<void> {
  try {
    await prove(path, sha256, { readBack });
  } catch (error) {
    if (isAirliftError(error, 'io')) await rename(path, `${path}.partial`).catch(() => undefined);
    throw error;
  }
}

async function firstMissing(files: readonly StowedFile[]): Promise<string | undefined> {
  for (const { path } of files) if ((await statOf(path))?.isFile() !== true) return path;
  return undefined;
}

/** Lists the files to copy: the bundle last, so that a medium with a bundle has all that belongs to it. */
async function itemsOf(
  bundle: string,
  directory: string,
  volumeSize: VolumeSize | undefined,
): Promise<Item[]> {
  const target = await statOf(directory);
  if (target?.isDirectory() !== true)
    throw new AirliftError(
      'io',
      `copy to ${directory}: ${target === undefined ? 'no such directory' : 'not a directory'}`,
      {
        hint: 'name the directory where the medium is mounted',
      },
    );
  const source = dirname(bundle);
  const volumes = await findVolumes(bundle);
  if (volumes !== undefined && volumeSize !== undefined)
    throw new AirliftError(
      'usage',
      `copy ${bundle}: it is in volumes already, and \`volumeSize\` gives another size`,
      {
        hint: 'copy the volumes as they are, or airlift join them first',
      },
    );
  if (volumes !== undefined) await requireFound(bundle, bundle, volumes);
  const own = await statOf(bundle);
  if (volumes === undefined && own?.isFile() !== true)
    throw new AirliftError(
      'io',
      `open ${bundle}: ${own === undefined ? 'no such file' : 'not a regular file'}`,
      {
        hint: 'check the path',
      },
    );
  if (await isSameDirectory(source, directory))
    throw new AirliftError('usage', `copy ${bundle} to ${directory}: it is there already`, {
      hint: 'name the directory where the medium is mounted',
    });
  const names = [
    ...(await listDetached(join(source, volumes?.name ?? basename(bundle)))),
    ...(volumes === undefined ? [] : await listDetached(join(source, listName(volumes.name)))),
    ...(await kitBeside(source)),
    ...(volumes === undefined ? [basename(bundle)] : filesOf(volumes)),
  ];
  const items: Item[] = [];
  for (const name of names) {
    const from = join(source, name);
    const found = await statOf(from);
    if (found?.isFile() === true) items.push({ from, to: join(directory, name), size: found.size });
  }
  return items;
}

/** Lists the volumes of a bundle, and then their list. */
function filesOf({ volumes, listPath }: FoundVolumes): string[] {
  const paths = [...volumes.map(({ path }) => path), listPath];
  return paths.flatMap((path) => (path === undefined ? [] : [basename(path)]));
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissingPath(error)) return undefined;
    throw ioError(`open ${path}`, error, { isInput: true });
  }
}

async function isSameDirectory(one: string, other: string): Promise<boolean> {
  const [left, right] = [await statOf(one), await statOf(other)];
  return left !== undefined && left.ino === right?.ino && left.dev === right.dev;
}

/** Lists the files of the kit in a directory, with the instructions beside it. */
async function kitBeside(directory: string): Promise<string[]> {
  if ((await statOf(join(directory, 'airlift', 'SHA256SUMS')))?.isFile() !== true) return [];
  const inKit = await readdir(join(directory, 'airlift'), { recursive: true });
  if (inKit.length > maxKitFiles) return [];
  return ['README-FIRST.txt', ...inKit.sort().map((name) => join('airlift', name))];
}

/**
 * Checks that the medium can hold all files.
 * @param items the bundle last
 * @throws AirliftError `no-space` with the option to use, `usage`
 */
export async function checkFits(
  items: readonly Item[],
  filesystem: Filesystem | undefined,
  volumeSize: VolumeSize | undefined,
): Promise<void> {
  const bundle = items.at(-1);
  let want = 0;
  for (const { to, size } of items) {
    if (volumeSize === undefined || to !== bundle?.to) checkFileSize(to, size, filesystem);
    else checkFileSize(to, bytesOfVolume(volumeSize), filesystem, true);
    want += Math.max(0, size - (await presentBytes(to)));
  }
  if (bundle !== undefined) await checkDiskSpace(bundle.to, want);
}

import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { requireFound } from '../bundle/format/volumes/damage.js';
import { findVolumes, type FoundVolumes } from '../bundle/format/volumes/find.js';
import { listName } from '../bundle/format/volumes/list.js';
import { checkDiskSpace } from '../bundle/write/disk-space.js';
import { checkFileSize, filesystemOf } from '../bundle/write/file-limit.js';
import { ioError } from '../bundle/format/io-error.js';
import { AirliftError, checkInterrupted, isMissingPath } from '../errors.js';
import { makeDirectory } from '../io/directories.js';
import { listDetached } from '../signing/detached.js';
import { verify } from '../verify.js';
import { copyFile, presentBytes } from './copy-file.js';
import { digestFromMedium } from './read-back.js';

export interface StowOptions {
  /** Replace files of the same names with other content. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: StowProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Progress of verifying the source, of copying, and of reading back. */
export interface StowProgress {
  readonly phase: 'verified' | 'copied' | 'read back';
  readonly bytes: number;
  readonly totalBytes: number;
}

/** A file on the medium. */
export interface StowedFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
  /** Bytes that an earlier run had copied. */
  readonly keptBytes: number;
}

export interface StowSummary {
  readonly bundle: string;
  readonly directory: string;
  readonly files: readonly StowedFile[];
  readonly size: number;
  /** Whether every byte was read back from the medium; false if the system reads only from its cache. */
  readonly isProven: boolean;
}

interface Item {
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
  const { onProgress, signal } = options;
  const items = await itemsOf(bundle, directory);
  await checkSpace(items);
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
  for (const item of items) {
    checkInterrupted(signal, `copy ${item.from}`);
    await makeDirectory(dirname(item.to));
    const at = before;
    const report = (phase: StowProgress['phase'], bytes: number): void =>
      onProgress?.({ phase, bytes: at + bytes, totalBytes });
    const { sha256, keptBytes } = await copyFile(item.from, item.to, {
      force: options.force ?? false,
      onProgress: (bytes) => report('copied', bytes),
      readBack: async (path) => {
        const got = await digestFromMedium(path, (bytes) => report('read back', bytes), signal);
        if (got === undefined) isProven = false;
        return got;
      },
      signal,
    });
    files.push({ path: item.to, size: item.size, sha256, keptBytes });
    before += item.size;
  }
  return { bundle, directory, files, size: totalBytes, isProven };
}

/** Lists the files to copy: the bundle last, so that a medium with a bundle has all that belongs to it. */
async function itemsOf(bundle: string, directory: string): Promise<Item[]> {
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

/** Checks that the medium can hold all files. */
async function checkSpace(items: readonly Item[]): Promise<void> {
  const byDirectory = items.at(-1);
  const filesystem = byDirectory === undefined ? undefined : await filesystemOf(byDirectory.to);
  let want = 0;
  for (const { to, size } of items) {
    checkFileSize(to, size, filesystem);
    want += Math.max(0, size - (await presentBytes(to)));
  }
  if (byDirectory !== undefined) await checkDiskSpace(byDirectory.to, want);
}

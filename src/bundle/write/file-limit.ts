/** What the filesystem of an output allows. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AirliftError } from '../../errors.js';
import { checkVolumeSize } from '../format/volumes/list.js';
import { mountTypeOf } from './mount-type.js';

/** The most bytes of a file on FAT32. */
const maxFatFile = 2 ** 32 - 1;

/** Bytes of the largest volume that fits FAT32 and ends between two blocks of a tar archive. */
const fatVolumeSize = maxFatFile - (maxFatFile % 512);

/** The `f_type` of Linux filesystems that fill a file with zeros up to a position behind its end (statfs(2)). */
const filesystems: ReadonlyMap<number, { readonly name: string; readonly maxFile: number }> = new Map([
  [0x4d44, { name: 'FAT32', maxFile: maxFatFile }],
  [0x2011bab0, { name: 'exFAT', maxFile: Number.MAX_SAFE_INTEGER }],
]);

/** The `f_type` of all FUSE filesystems. */
const fuse = 0x65735546;

/** What a filesystem allows; see {@link filesystemOf}. */
export interface Filesystem {
  readonly name: string;
  /** The most bytes of a file. */
  readonly maxFile: number;
}

/** Bytes of a volume, or `fat32` for the largest volume that fits FAT32. */
export type VolumeSize = number | 'fat32';

/**
 * Returns the bytes of a volume.
 * @throws AirliftError `usage` unless it is a whole number of at least 512
 */
export function bytesOfVolume(size: VolumeSize): number {
  if (size === 'fat32') return fatVolumeSize;
  checkVolumeSize(size);
  return size;
}

/**
 * Returns the filesystem of an output if it is one without holes, which Linux tells; undefined for all others. FUSE drivers of exFAT and
 * NTFS do not say which of them they are.
 */
export async function filesystemOf(path: string): Promise<Filesystem | undefined> {
  const directory = dirname(path);
  try {
    const { type } = await statfs(directory);
    if (type === fuse && (await mountTypeOf(directory)) === 'fuseblk')
      return { name: 'FUSE', maxFile: Number.MAX_SAFE_INTEGER };
    return filesystems.get(type);
  } catch {
    // A missing directory is reported when the file is created.
    return undefined;
  }
}

/**
 * Checks that a filesystem can hold a file, before time is spent on its content.
 * @param size bytes of the file, or of a volume
 * @throws AirliftError `no-space` with the option to use
 */
export function checkFileSize(
  path: string,
  size: number,
  filesystem: Filesystem | undefined,
  isVolume = false,
): void {
  if (filesystem === undefined || size <= filesystem.maxFile) return;
  const { name, maxFile } = filesystem;
  throw new AirliftError(
    'no-space',
    `write ${path}: ${name} holds files of at most ${maxFile} bytes; got ${isVolume ? 'volumes of ' : ''}${size} bytes`,
    { hint: "`volumeSize: 'fat32'` writes volumes that fit" },
  );
}

/**
 * Checks that a bundle fits its output: one file the filesystem, volumes the most that a bundle can have.
 * @param volumeSize bytes of a volume, as the journal keeps them; 0 for one file
 * @throws AirliftError `no-space`, `usage`
 */
export async function checkLimits(path: string, size: number, volumeSize: unknown): Promise<void> {
  if (typeof volumeSize === 'number' && volumeSize > 0) checkVolumeSize(volumeSize, size);
  else checkFileSize(path, size, await filesystemOf(path));
}

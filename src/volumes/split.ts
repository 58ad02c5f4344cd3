import { basename, join } from 'node:path';
import { BundleFile } from '../bundle/format/file.js';
import {
  checkVolumeSize,
  listName,
  volumeName,
  volumeSizes,
  type Volume,
} from '../bundle/format/volumes/list.js';
import { nameVolumes, revertNaming } from '../bundle/format/volumes/naming.js';
import { BundleReader } from '../bundle/reader.js';
import { checkDiskSpace } from '../bundle/write/disk-space.js';
import { bytesOfVolume, checkFileSize, filesystemOf, type VolumeSize } from '../bundle/write/file-limit.js';
import { syncDirectory } from '../bundle/write/output-name.js';
import { refuseTaken } from '../bundle/write/output-volumes.js';
import { namesDirectory } from '../io/directories.js';
import type { Digest } from '../oci/digest.js';
import { copyBytes, type CopyProgress } from './copy-bytes.js';

export interface SplitOptions {
  /** Directory for the volumes, or the path of the bundle that they make up. */
  readonly output: string;
  /** Bytes of each volume, or `fat32` for the largest that fits FAT32. */
  readonly volumeSize: VolumeSize;
  /** Directories that hold volumes of the bundle, if it is split already. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Replace existing volumes. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The volumes that were written. */
export interface SplitSummary {
  /** Path of the list. */
  readonly list: string;
  /** Bytes of the bundle. */
  readonly size: number;
  readonly digest: Digest;
  readonly volumes: readonly Volume[];
}

/**
 * Returns the path for an output that may be a directory.
 * @param name file name in a directory
 */
export async function pathIn(output: string, name: string): Promise<string> {
  return (await namesDirectory(output)) ? join(output, name) : output;
}

/** Returns the file name of a bundle, without the suffix of a volume or of the list. */
export function bundleName(path: string): string {
  return basename(path).replace(/\.(volumes|\d{3})$/, '');
}

/**
 * Copies a bundle into volumes, which joined are the same bytes, and writes the list of them last. After an interruption the same call
 * keeps what is written.
 * @throws AirliftError as `inspect` for the bundle; `usage` for the size of volumes; `exists`; `no-space`; `io`; `interrupted`
 */
export async function splitBundle(path: string, options: SplitOptions): Promise<SplitSummary> {
  const { volumeDirs = [], force = false, onProgress, signal } = options;
  const reader = await BundleReader.open({ path, volumeDirs });
  try {
    const { size, file: from } = reader;
    const volumeSize = bytesOfVolume(options.volumeSize);
    checkVolumeSize(volumeSize, size);
    const output = await pathIn(options.output, bundleName(path));
    const partial = `${output}.partial`;
    const filesystem = await filesystemOf(output);
    checkFileSize(output, volumeSize, filesystem, true);
    await revertNaming(partial, output);
    if (!force) await refuseTaken(output, volumeSize);
    const to = await BundleFile.open({ path: partial, volumeSize }, 'create');
    try {
      const sizes = volumeSizes(size, volumeSize);
      await checkDiskSpace(output, size - (await to.stat()).allocated);
      const volumes: Volume[] = [];
      const digest = await copyBytes(from, to, {
        sizes,
        doing: `split ${path}`,
        onVolume: (number, volumeDigest) => {
          volumes.push({
            name: volumeName(basename(output), number),
            size: sizes[number - 1] ?? 0,
            digest: volumeDigest,
          });
        },
        onProgress,
        signal,
      });
      // Cuts off what an earlier run wrote in other sizes.
      await to.resize(size);
      await to.sync();
      const list = { name: basename(output), size, digest, volumes };
      await nameVolumes(partial, output, list, syncDirectory);
      return { list: listName(output), size, digest, volumes };
    } finally {
      await to.close();
    }
  } finally {
    await reader.close();
  }
}

/** The output of a bundle that is written in volumes: its names, and its list. */
import { basename } from 'node:path';
import { rm } from 'node:fs/promises';
import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import type { BundlePlace } from '../format/volumes/files.js';
import { listName, volumeName, volumeSizes, type VolumeList } from '../format/volumes/list.js';
import { nameVolumes, removePartial } from '../format/volumes/naming.js';
import { HashPool } from '../verify/hash-pool.js';
import { refuseExisting, syncDirectory } from './output-name.js';

/** Returns where a bundle is while it is written. */
export function partialPlace(path: string, volumeSize: number | undefined): BundlePlace {
  const partial = `${path}.partial`;
  return volumeSize === undefined ? partial : { path: partial, volumeSize };
}

/**
 * Rejects a bundle whose final names are taken: of volumes, the list or the first one.
 * @throws AirliftError `exists`
 */
export async function refuseTaken(path: string, volumeSize: number | undefined): Promise<void> {
  if (volumeSize === undefined) return refuseExisting(path);
  for (const name of [listName(path), volumeName(path, 1)]) await refuseExisting(name, 'the volumes');
}

/** Removes what is written of a bundle, in one file or in volumes. */
export async function removeWritten(path: string): Promise<void> {
  await rm(`${path}.partial`, { force: true });
  await removePartial(`${path}.partial`);
}

/**
 * Hashes the volumes of a complete bundle and the whole, and gives the volumes their final names.
 * @throws AirliftError `no-space`, `io`, `interrupted`
 */
export async function finishVolumes(
  path: string,
  size: number,
  volumeSize: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sizes = volumeSizes(size, volumeSize);
  const digests = await digestsOf(partialPlace(path, volumeSize), size, sizes, signal);
  const [digest, ...ofVolumes] = digests;
  const name = basename(path);
  const list: VolumeList = {
    name,
    size,
    digest: digest ?? ('' as Digest),
    volumes: sizes.map((bytes, at) => ({
      name: volumeName(name, at + 1),
      size: bytes,
      digest: ofVolumes[at] ?? ('' as Digest),
    })),
  };
  await nameVolumes(`${path}.partial`, path, list, syncDirectory);
}

/** Returns the digest of the whole and of each volume. One thread hashes the whole, the other one the volumes. */
async function digestsOf(
  place: BundlePlace,
  size: number,
  sizes: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Digest[]> {
  const ranges = [{ position: 0, size }];
  let position = 0;
  for (const bytes of sizes) {
    ranges.push({ position, size: bytes });
    position += bytes;
  }
  const digests: Digest[] = [];
  const pool = new HashPool(place, 2);
  try {
    const tasks = ranges.map((range, id) => ({ id, ...range, algorithm: 'sha256' as const }));
    await pool.hash(tasks, {
      signal,
      onProgress: () => undefined,
      onResult: ({ id, hex, bytes }) => {
        if (bytes !== ranges[id]?.size)
          throw new AirliftError('damaged', `finish volumes: the file ends early; got ${bytes} bytes`);
        digests[id] = `sha256:${hex}` as Digest;
      },
    });
  } finally {
    await pool.close();
  }
  return digests;
}

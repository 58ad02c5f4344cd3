import { checkVolumes } from '../bundle/verify/check-volumes.js';
import { findVolumes, volumeNumberOf } from '../bundle/format/volumes/find.js';
import type { CheckProgress, Problem } from '../bundle/report.js';
import type { Digest } from '../oci/digest.js';

export interface VerifyVolumeOptions {
  /** Directories that hold the list or other volumes, besides the one of the path. */
  readonly volumeDirs?: readonly string[] | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The result of verifying one volume; plain data. */
export interface VolumeReport {
  /** Path of the volume. */
  readonly volume: string;
  /** Counts from 1. */
  readonly number: number;
  /** Number of volumes of the bundle. */
  readonly volumes: number;
  /** Bytes that the volume should have. */
  readonly size: number;
  readonly digest: Digest;
  /** Path of the list that the volume was compared with. */
  readonly list: string;
  readonly ok: boolean;
  /** None, or one with the images that need the volume, if the first volume is there and intact. */
  readonly problems: readonly Problem[];
}

/**
 * Verifies one volume alone against the list beside it.
 * @param path of a volume
 * @returns undefined if the path names no volume of a list
 * @throws AirliftError `damaged` if the list is damaged, `interrupted`, `io`
 */
export async function verifyVolume(
  path: string,
  { volumeDirs = [], onProgress, signal }: VerifyVolumeOptions = {},
): Promise<VolumeReport | undefined> {
  const { number } = volumeNumberOf(path) ?? {};
  const found = number === undefined ? undefined : await findVolumes(path, volumeDirs);
  const volume = found?.volumes.find((each) => each.number === number);
  if (found?.listPath === undefined || volume?.digest === undefined) return undefined;
  const problems = await checkVolumes(path, volumeDirs, found, {
    jobs: 1,
    numbers: [volume.number],
    onProgress,
    signal,
  });
  return {
    volume: volume.path ?? path,
    number: volume.number,
    volumes: found.volumes.length,
    size: volume.size,
    digest: volume.digest,
    list: found.listPath,
    ok: problems.length === 0,
    problems,
  };
}

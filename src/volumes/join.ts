import { rename } from 'node:fs/promises';
import { BundleFile } from '../bundle/format/file.js';
import { requireFound } from '../bundle/format/volumes/damage.js';
import { findVolumes, type FoundVolumes } from '../bundle/format/volumes/find.js';
import { ioError } from '../bundle/format/io-error.js';
import { sumsDigest } from '../bundle/format/sums.js';
import { volumeProblems } from '../bundle/verify/check-volumes.js';
import { checkWritten } from '../bundle/verify/check-front.js';
import { checkDiskSpace } from '../bundle/write/disk-space.js';
import { checkFileSize, filesystemOf } from '../bundle/write/file-limit.js';
import { refuseExisting, syncDirectory } from '../bundle/write/output-name.js';
import { AirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { copyBytes, type CopyProgress } from './copy-bytes.js';
import { pathIn } from './split.js';

export interface JoinOptions {
  /** Path of the bundle to write, or a directory for it. */
  readonly output: string;
  /** Directories that hold volumes, besides the one of the path. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Replace an existing file. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The bundle that was written. */
export interface JoinSummary {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
  readonly volumes: number;
  /** Digest of the bundle's `SHA256SUMS`. */
  readonly sums: Digest;
}

/**
 * Joins the volumes of a bundle to one file, and compares each volume and the whole with the list. After an interruption, or after a
 * damaged volume was copied again, the same call keeps what is written.
 * @param path of the list or of any volume
 * @throws AirliftError `usage` if the path names no volumes; `damaged` with the volumes to copy again and the images that need them;
 *   `exists`, `no-space`, `io`, `interrupted`
 */
export async function joinBundle(path: string, options: JoinOptions): Promise<JoinSummary> {
  const { volumeDirs = [], force = false, onProgress, signal } = options;
  const found = await findVolumes(path, volumeDirs);
  if (found === undefined) {
    throw new AirliftError('usage', `join ${path}: not a volume, and no list of volumes`, {
      hint: 'name the first volume or the list: airlift join site.tar.001 -o site.tar',
    });
  }
  await requireFound(path, path, found);
  const { size, volumes } = found;
  const output = await pathIn(options.output, found.name);
  checkFileSize(output, size, await filesystemOf(output));
  if (!force) await refuseExisting(output);
  const partial = `${output}.partial`;
  const from = await BundleFile.open({ path, volumeDirs }, 'r');
  try {
    const to = await BundleFile.open(partial, 'create');
    let digest: Digest;
    const damaged = new Map<number, string>();
    try {
      await checkDiskSpace(output, size - (await to.stat()).allocated);
      digest = await copyBytes(from, to, {
        sizes: volumes.map((volume) => volume.size),
        doing: `join ${path}`,
        onVolume: (number, got) => {
          const want = volumes[number - 1]?.digest;
          if (want !== undefined && want !== got) damaged.set(number, 'digest mismatch');
        },
        onProgress,
        signal,
      });
      await to.resize(size);
      await to.sync();
    } finally {
      await to.close();
    }
    await refuseDamage(path, volumeDirs, found, damaged);
    if (found.list !== undefined && found.list.digest !== digest) {
      throw new AirliftError(
        'damaged',
        `join ${path}: digest mismatch of the whole; got ${digest}, want ${found.list.digest}`,
        {
          hint: `copy ${found.listPath ?? path} again: every volume matches it`,
        },
      );
    }
    await checkWritten(partial, signal);
    if (!force) await refuseExisting(output);
    await rename(partial, output).catch((error: unknown) => {
      throw ioError(`rename ${partial} to ${output}`, error);
    });
    await syncDirectory(output);
    return { path: output, size, digest, volumes: volumes.length, sums: await sumsDigest(output) };
  } finally {
    await from.close();
  }
}

/** @throws AirliftError `damaged` that names damaged volumes and the images that need them */
async function refuseDamage(
  path: string,
  volumeDirs: readonly string[],
  found: FoundVolumes,
  damaged: ReadonlyMap<number, string>,
): Promise<void> {
  if (damaged.size === 0) return;
  const problems = await volumeProblems(path, volumeDirs, found, damaged);
  const lines = problems.flatMap(({ thing, detail, images }) => [
    `${thing}: ${detail}`,
    ...images.map(({ reference }) => `  breaks ${reference}`),
  ]);
  const [first, ...others] = lines;
  const names = problems.map(({ thing }) => thing).join(', ');
  throw new AirliftError('damaged', `join ${path}: ${first ?? ''}`, {
    lines: others,
    hint: `copy only ${names} again, and run the same command again: it keeps what is written`,
  });
}

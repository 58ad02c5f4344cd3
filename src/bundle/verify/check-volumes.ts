/** Checks the volumes of a bundle against their list. */
import { isAirliftError } from '../../errors.js';
import { hexOf } from '../../oci/digest.js';
import { Catalog } from '../format/catalog.js';
import { BundleFile } from '../format/file.js';
import { readHead } from '../format/head.js';
import { absenceOf, type FoundVolume, type FoundVolumes } from '../format/volumes/find.js';
import type { BrokenImage, CheckProgress, Problem } from '../report.js';
import { addCatalogGraph } from './check-images.js';
import type { ContentCheckOptions } from './check-contents.js';
import { Findings } from './findings.js';
import { HashPool } from './hash-pool.js';

/**
 * Checks the size of every volume, and the digest of those that are there.
 * @param numbers the volumes to check; default: all
 * @returns the problems, each with the images that need the volume
 * @throws AirliftError `interrupted`, `io`
 */
export async function checkVolumes(
  path: string,
  volumeDirs: readonly string[],
  found: FoundVolumes,
  { jobs, onProgress, signal, numbers }: ContentCheckOptions & { jobs: number; numbers?: readonly number[] },
): Promise<Problem[]> {
  const checked = found.volumes.filter(({ number }) => numbers?.includes(number) ?? true);
  const details = new Map<number, string>();
  for (const volume of checked) {
    const absence = absenceOf(volume, found.directories);
    if (absence !== undefined) details.set(volume.number, absence);
  }
  const rest = checked.filter(({ number, digest }) => digest !== undefined && !details.has(number));
  const pool = new HashPool({ path, volumeDirs, isPartial: true }, jobs);
  try {
    const totals = { totalBlobs: 0, totalBytes: rest.reduce((sum, { size }) => sum + size, 0) };
    const progress = progressOf(totals, onProgress);
    const tasks = rest.map(({ number, start, size }) => ({
      id: number,
      position: start,
      size,
      algorithm: 'sha256' as const,
    }));
    await pool.hash(tasks, {
      signal,
      onProgress: progress.add,
      onResult: ({ id, hex }) => {
        const volume = rest.find(({ number }) => number === id);
        progress.finish(volume?.size ?? 0);
        if (volume?.digest === undefined || hexOf(volume.digest) === hex) return;
        details.set(id, `digest mismatch; got sha256:${hex}, want ${volume.digest}`);
      },
    });
  } finally {
    await pool.close();
  }
  return volumeProblems(path, volumeDirs, found, details);
}

/** Counts bytes that are hashed. */
function progressOf(
  totals: Pick<CheckProgress, 'totalBlobs' | 'totalBytes'>,
  onProgress: ContentCheckOptions['onProgress'],
): { add: (bytes: number) => void; finish: (size: number) => void } {
  let [bytes, ahead] = [0, 0];
  const report = (): void => onProgress?.({ blobs: 0, bytes: bytes + ahead, ...totals });
  return {
    add: (count) => {
      ahead += count;
      report();
    },
    finish: (size) => {
      bytes += size;
      ahead = Math.max(0, ahead - size);
      report();
    },
  };
}

/**
 * Describes damaged volumes, each with the images that need it.
 * @param details what is wrong, by the number of the volume
 */
export async function volumeProblems(
  path: string,
  volumeDirs: readonly string[],
  { volumes }: FoundVolumes,
  details: ReadonlyMap<number, string>,
): Promise<Problem[]> {
  if (details.size === 0) return [];
  const damaged = volumes.filter(({ number }) => details.has(number));
  const images = await imagesOfVolumes(path, volumeDirs, damaged);
  return damaged.map(({ number, name }) => ({
    kind: 'volume',
    thing: name,
    detail: details.get(number) ?? '',
    images: images?.get(number) ?? [],
  }));
}

/** Finds the images that need bytes of each volume; undefined if the catalog in the first volume cannot be read. */
async function imagesOfVolumes(
  path: string,
  volumeDirs: readonly string[],
  volumes: readonly FoundVolume[],
): Promise<Map<number, BrokenImage[]> | undefined> {
  const file = await BundleFile.open({ path, volumeDirs, isPartial: true }, 'r');
  const findings = new Findings();
  let catalog: Catalog | undefined;
  try {
    const head = await readHead(file);
    catalog = await Catalog.open(file, head);
    addCatalogGraph(catalog, findings);
    const broken = volumes.map((volume) => ({ ...volume, images: new Map<string, Set<string>>() }));
    for (const { digest, size, offset } of catalog.blobs()) {
      if (offset === undefined) continue;
      const begin = head.start + offset;
      // The head belongs to every image.
      const needed = broken.filter(
        (volume) =>
          volume.start < head.start || (begin < volume.start + volume.size && begin + size > volume.start),
      );
      if (needed.length === 0) continue;
      for (const { reference, platforms } of findings.imagesOf(digest))
        for (const { images } of needed)
          images.set(reference, new Set([...(images.get(reference) ?? []), ...platforms]));
    }
    return new Map(broken.map(({ number, images }) => [number, sorted(images)]));
  } catch (error) {
    if (isAirliftError(error, 'damaged', 'input', 'unsupported')) return undefined;
    throw error;
  } finally {
    catalog?.close();
    findings.close();
    await file.close();
  }
}

function sorted(images: ReadonlyMap<string, ReadonlySet<string>>): BrokenImage[] {
  return [...images]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([reference, platforms]) => ({ reference, platforms: [...platforms].sort() }));
}

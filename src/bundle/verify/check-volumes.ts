/** Checks the volumes of a bundle against their list. */
import { basename } from 'node:path';
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

/** The key of the joined bundle among what is wrong with volumes, which count from 1. */
const joined = 0;

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
  { numbers, ...options }: VolumeCheckOptions & { numbers?: readonly number[] },
): Promise<Problem[]> {
  const checked = found.volumes.filter(({ number }) => numbers?.includes(number) ?? true);
  const details = new Map<number, string>();
  for (const volume of checked) {
    const absence = absenceOf(volume, found.directories);
    if (absence !== undefined) details.set(volume.number, absence);
  }
  const rest = checked.filter(({ number }) => !details.has(number));
  for (const [number, detail] of await hashRanges({ path, volumeDirs }, rest, options))
    details.set(number, detail);
  return volumeProblems(path, volumeDirs, found, details);
}

export interface VolumeCheckOptions extends ContentCheckOptions {
  /** Worker threads. */
  readonly jobs: number;
}

/**
 * Hashes each volume of a set that is complete, and the whole of it.
 * @returns what differs from the list, by the number of the volume
 * @throws AirliftError `interrupted`, `io`
 */
export async function hashVolumes(
  path: string,
  volumeDirs: readonly string[],
  { volumes, list, size }: FoundVolumes,
  options: VolumeCheckOptions,
): Promise<ReadonlyMap<number, string>> {
  // The whole takes longest, because one thread hashes all of it: it comes first.
  const whole = { number: joined, start: 0, size, digest: list?.digest };
  return hashRanges({ path, volumeDirs }, [whole, ...volumes], options);
}

/**
 * Describes a list that differs from its volumes, although all of their content is right: then the list is wrong.
 * @param details what differs, as `hashVolumes` returns it
 */
export function listProblems(
  { listPath, volumes }: FoundVolumes,
  details: ReadonlyMap<number, string>,
): Problem[] {
  return [...details].map(([number, detail]) => {
    const name = volumes[number - 1]?.name ?? 'the joined bundle';
    return {
      kind: 'volume',
      thing: basename(listPath ?? ''),
      detail: `lists another digest for ${name}, whose content is whole: ${detail}`,
      images: [],
    };
  });
}

/** A range of a bundle: a volume, or the whole. */
type Range = Pick<FoundVolume, 'number' | 'start' | 'size' | 'digest'>;

/** Hashes ranges of a bundle whose digests are known; returns what is wrong, by number. */
async function hashRanges(
  place: { readonly path: string; readonly volumeDirs: readonly string[] },
  ranges: readonly Range[],
  { jobs, onProgress, signal }: VolumeCheckOptions,
): Promise<Map<number, string>> {
  const details = new Map<number, string>();
  const listed = new Map(
    ranges.filter(({ digest }) => digest !== undefined).map((range) => [range.number, range] as const),
  );
  const totalBytes = [...listed.values()].reduce((sum, { size }) => sum + size, 0);
  const pool = new HashPool({ ...place, isPartial: true }, jobs, totalBytes);
  try {
    const progress = progressOf({ totalBlobs: 0, totalBytes }, onProgress);
    const tasks = [...listed.values()].map(({ number, start, size }) => ({
      id: number,
      position: start,
      size,
      algorithm: 'sha256' as const,
    }));
    await pool.hash(tasks, {
      signal,
      onProgress: progress.add,
      onResult: ({ id, hex }) => {
        const { digest, size = 0 } = listed.get(id) ?? {};
        progress.finish(size);
        if (digest === undefined || hexOf(digest) === hex) return;
        details.set(id, `digest mismatch; got sha256:${hex}, want ${digest}`);
      },
    });
  } finally {
    await pool.close();
  }
  return details;
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
 * Joins the progress of two checks that run at the same time: counts the blobs and bytes of the first, as far as the second has come.
 */
export function slowerProgress(onProgress: ContentCheckOptions['onProgress']): {
  readonly content: (progress: CheckProgress) => void;
  readonly volumes: (progress: CheckProgress) => void;
} {
  let latest: CheckProgress | undefined;
  let share = 0;
  const report = (): void => {
    if (latest === undefined) return;
    onProgress?.({ ...latest, bytes: Math.min(latest.bytes, Math.floor(share * latest.totalBytes)) });
  };
  return {
    content: (progress) => {
      latest = progress;
      report();
    },
    volumes: ({ bytes, totalBytes }) => {
      share = totalBytes === 0 ? 1 : bytes / totalBytes;
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

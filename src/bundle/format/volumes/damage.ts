/** Names the volumes of a bundle that are missing or damaged, with the images that need them. */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { AirliftError, firstLines, firstNames, isAirliftError } from '../../../errors.js';
import { hexOf } from '../../../oci/digest.js';
import { formatReference } from '../../../oci/reference.js';
import { Catalog } from '../catalog.js';
import { BundleFile, type HeldVolume } from '../file.js';
import { readHead } from '../head.js';
import type { BundlePlace, HeldFiles } from './files.js';
import { absenceOf, findVolumes, requireAll, type FoundVolumes } from './find.js';

/** The most images that an error names for a volume. */
const maxImages = 10;
/** The most volumes that an error names for one place. */
const maxNames = 5;

/** The catalog of a bundle, and the position that its offsets count from. */
interface Front {
  readonly catalog: Catalog;
  readonly start: number;
}

/** A range of bytes of the bundle. */
interface Range {
  readonly position: number;
  readonly length: number;
}

/** Lists the images that need bytes of a range of the file, one line each. */
export function brokenImages({ catalog, start }: Front, from: number, to: number): string[] {
  // The head belongs to every image.
  const images =
    from < start
      ? Array.from(catalog.images(), ({ reference }) => formatReference(reference))
      : catalog.imagesBetween(from - start, to - start);
  return firstLines(
    images.map((reference) => `breaks ${reference}`),
    maxImages,
  ).map((line) => `  ${line}`);
}

/**
 * Checks that all volumes of a bundle are there in their size.
 * @param name the bundle's name in messages
 * @throws AirliftError `damaged` with every volume to copy again and the images that need it
 */
export async function requireVolumes(place: BundlePlace | HeldFiles, name: string): Promise<void> {
  const isIn = typeof place === 'object' && 'volumeDirs' in place;
  if ((typeof place === 'object' && !isIn) || (isIn && place.isPartial === true)) return;
  const [path, directories] = isIn ? [place.path, place.volumeDirs] : [place, []];
  const found = await findVolumes(path, directories);
  if (found !== undefined) await requireFound(path, name, found);
}

/**
 * Checks that all volumes which were looked for are there in their size.
 * @param path of the list or of a volume
 * @throws AirliftError as `requireVolumes`
 */
export async function requireFound(path: string, name: string, found: FoundVolumes): Promise<void> {
  try {
    requireAll(name, found);
  } catch (error) {
    if (!isAirliftError(error, 'damaged')) throw error;
    const lines = await linesOf(path, found);
    throw new AirliftError('damaged', `open ${name}: ${lines[0] ?? ''}`, {
      lines: lines.slice(1),
      hint: error.hint,
    });
  }
}

/** Describes the volumes that are missing, each followed by the images that need it. */
async function linesOf(path: string, found: FoundVolumes): Promise<string[]> {
  const absent = found.volumes.filter((volume) => absenceOf(volume, found.directories) !== undefined);
  const images = await imagesOf(path, found, absent);
  const lines = absent.flatMap((volume, at) => [
    `${volume.name}: ${absenceOf(volume, found.directories) ?? ''}`,
    ...(images?.[at] ?? []),
  ]);
  // The head cannot be read, so the first of them has a part of it.
  const [first] = absent;
  if (images === undefined && first !== undefined)
    lines.push(
      `${first.name} holds the catalog: without it, airlift cannot name the images that need a volume`,
    );
  return lines;
}

/** Lists the images that need each volume; undefined if the catalog cannot be read. */
async function imagesOf(
  path: string,
  { directories }: FoundVolumes,
  volumes: FoundVolumes['volumes'],
): Promise<string[][] | undefined> {
  const file = await BundleFile.open({ path, volumeDirs: directories, isPartial: true }, 'r');
  let catalog: Catalog | undefined;
  try {
    const { entries, start } = await readHead(file);
    catalog = await Catalog.open(file, { entries, start });
    const front = { catalog, start };
    return volumes.map((volume) => brokenImages(front, volume.start, volume.start + volume.size));
  } catch (error) {
    if (isAirliftError(error, 'damaged', 'input', 'unsupported')) return undefined;
    throw error;
  } finally {
    catalog?.close();
    await file.close();
  }
}

/**
 * Returns those of the volumes that hold a range whose digest differs from the list; all of them if the list does not tell.
 * @throws AirliftError `io`
 */
export async function damagedVolumes(file: BundleFile, { position, length }: Range): Promise<HeldVolume[]> {
  const volumes = file.volumesAt(position, length);
  if (volumes.length < 2) return volumes;
  const damaged: HeldVolume[] = [];
  for (const volume of volumes) {
    const { start, end, digest } = volume;
    if (digest === undefined) return volumes;
    const hash = createHash('sha256');
    for await (const chunk of file.stream(start, end - start, { reusesMemory: true }))
      hash.update(chunk as Buffer);
    if (hash.digest('hex') !== hexOf(digest)) damaged.push(volume);
  }
  return damaged.length > 0 ? damaged : volumes;
}

/**
 * Adds to an error about damaged bytes the volumes that hold them, and the images that need these. Returns the same error for a bundle in
 * one file.
 * @param front undefined if the catalog cannot be read
 * @param volumes those that are known to be damaged; default: all that hold bytes of the range
 */
export function withVolumes(
  error: unknown,
  file: BundleFile,
  { position, length }: Range,
  front: Front | undefined,
  volumes = file.volumesAt(position, length),
): unknown {
  const [first] = volumes;
  if (!isAirliftError(error, 'damaged', 'digest-mismatch') || first === undefined) return error;
  const names = volumes.map(({ path }) => basename(path));
  const either = firstNames(names, maxNames);
  const isOne = names.length === 1;
  const [from, to] = isOne ? [first.start, first.end] : [position, position + length];
  const [message = '', ...lines] = error.lines;
  return new AirliftError(error.code, message, {
    lines: [
      ...lines,
      isOne ? `in ${either}` : `in one of ${either}`,
      ...(front === undefined
        ? [`${either} holds the catalog: without it, airlift cannot name the images that need a volume`]
        : brokenImages(front, from, to)),
    ],
    hint: isOne
      ? `copy only ${either} again from its source; airlift verify ${file.path} lists all damage`
      : `run airlift verify ${file.path} to find out which, and copy only that one again from its source`,
    cause: error.cause,
  });
}

import type { Archive, ArchiveImage } from '../archive/read/archive.js';
import { familiarName } from '../archive/read/image-names.js';
import type { NameRules } from './name-rules.js';
import { AirliftError } from '../errors.js';
import type { Part } from './merge-image.js';
import { isCompanionTag, subjectOfTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import { isIndex } from '../oci/media-types.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import { formatReference, formatRepository, parseReference, type Reference } from '../oci/reference.js';
import type { ProgressEvent } from '../progress.js';

export type MergedEvent = Extract<ProgressEvent, { event: 'merged' }>;

export interface MergeNamesOptions {
  /** The name of images that have none in their archive. */
  readonly name?: string | undefined;
  /** Fail, instead of warn, when an archive contradicts itself about a platform. */
  readonly strictPlatforms?: boolean | undefined;
  /** Rules that remove the architecture from names: images whose names differ only in it are merged. */
  readonly nameRules?: NameRules | undefined;
  /** Called with the images that such a rule merges. */
  readonly onMerged?: ((merged: MergedEvent) => void) | undefined;
  readonly warn?: ((text: string) => void) | undefined;
}

/** All that the archives hold under one name. */
export interface NamedParts {
  readonly reference: Reference;
  readonly parts: Part[];
}

/** An image of an archive under one of its names. */
interface Named {
  readonly archive: Archive;
  readonly image: ArchiveImage;
  readonly reference: Reference;
}

/** Reports whether a name has a tag or a digest. */
function hasVersion(name: string): boolean {
  return name.includes('@') || name.lastIndexOf(':') > name.lastIndexOf('/');
}

function namesOf({ names, tag, companionOf, file }: ArchiveImage, given: string | undefined): Reference[] {
  if (names.length > 0) return names.map(parseReference);
  if (given === undefined) {
    throw new AirliftError('usage', `merge ${file}: the archive holds an image without a name`, {
      hint: 'give it one with `archives.name` REPOSITORY:TAG',
    });
  }
  const reference = parseReference(given);
  if (companionOf !== undefined) return [{ ...reference, tag, digest: undefined }];
  return [tag === undefined || hasVersion(given) ? reference : { ...reference, tag }];
}

/**
 * Returns the names that an image keeps whatever else is merged: none where rules may change them, or where podman's name may become
 * docker's.
 */
export function finalNames(
  names: readonly string[],
  { name: given, nameRules }: Pick<MergeNamesOptions, 'name' | 'nameRules'>,
): Reference[] {
  if (nameRules !== undefined) return [];
  const texts = names.length === 0 && given !== undefined ? [given] : names;
  return texts.map(parseReference).filter((reference) => dockerNameOf(reference) === undefined);
}

async function allNamed(archives: readonly Archive[], options: MergeNamesOptions): Promise<Named[]> {
  const found: Named[] = [];
  for (const archive of archives) {
    const before = found.length;
    for await (const image of archive.images())
      for (const reference of namesOf(image, options.name)) found.push({ archive, image, reference });
    if (found.length === before && archives.length > 1) options.warn?.(`${archive.file}: no image found`);
  }
  return found;
}

/** Returns new names by old names. Signatures under tags follow the image they sign. */
function newNames(named: readonly Named[], rules: NameRules | undefined): Map<string, Reference> {
  const renamed =
    rules === undefined ? localNames(named) : new Map(rules.merge(named.map(({ reference }) => reference)));
  const homes = new Map<string, Reference>();
  const homeKey = (repository: Reference, digest: Digest): string =>
    `${formatRepository(repository)}@${digest}`;
  for (const { image, reference } of named) {
    const target = renamed.get(formatReference(reference));
    if (target === undefined) continue;
    for (const digest of [image.root.digest, ...image.children.map(({ descriptor }) => descriptor.digest)])
      homes.set(homeKey(reference, digest), target);
  }
  for (const { reference } of named) {
    const subject = subjectOfTag(reference.tag);
    const home = subject === undefined ? undefined : homes.get(homeKey(reference, subject));
    if (home !== undefined) renamed.set(formatReference(reference), { ...home, tag: reference.tag });
  }
  return renamed;
}

function platformsOf({ children }: ArchiveImage): Platform[] {
  return children.flatMap(({ platform }) => platform?.platform ?? []);
}

/**
 * Warns when a name states another architecture than the image has. Images outside of indexes are checked when their platform is
 * found, together with their config.
 */
function checkName({ image, archive, reference }: Named, options: MergeNamesOptions): void {
  const { nameRules, strictPlatforms, warn } = options;
  const named = nameRules?.platformOf([formatReference(reference)])?.platform;
  const isKnown = !isIndex(image.root.mediaType) && nameRules?.platformOf(image.names) !== undefined;
  const held = platformsOf(image);
  if (named === undefined || isKnown || held.some(({ architecture }) => architecture === named.architecture))
    return;
  const got = held.length === 0 ? 'no runnable image' : held.map(formatPlatform).join(', ');
  const what = `${familiarName(formatReference(reference))} in ${archive.file}: the image's name says ${formatPlatform(named)}, but it holds ${got}`;
  if (strictPlatforms !== true) return warn?.(what);
  throw new AirliftError('conflict', `merge ${what}`, {
    hint: 'omit the archive, or omit `archives.strictPlatforms`',
  });
}

function mergedEvent(image: string, parts: readonly Part[]): MergedEvent {
  const from = parts.map(({ archive, image: found, oldName }) => ({
    name: oldName ?? familiarName(image),
    file: archive.file,
    platforms: platformsOf(found).map(formatPlatform),
  }));
  return { event: 'merged', image: familiarName(image), from };
}

/** Returns docker's name for an image that podman calls `localhost/NAME`: both are built locally and have no registry. */
function dockerNameOf(reference: Reference): Reference | undefined {
  if (reference.registry !== 'localhost') return undefined;
  const { repository } = reference;
  return {
    ...reference,
    registry: 'docker.io',
    repository: repository.includes('/') ? repository : `library/${repository}`,
  };
}

/** Returns new names for podman's local images whose docker counterparts exist for other platforms. */
function localNames(named: readonly Named[]): Map<string, Reference> {
  const platforms = new Map<string, Set<string>>();
  for (const { image, reference } of named) {
    const name = formatReference(reference);
    const known = platforms.get(name) ?? new Set();
    for (const platform of platformsOf(image)) known.add(formatPlatform(platform));
    platforms.set(name, known);
  }
  const renamed = new Map<string, Reference>();
  for (const { reference } of named) {
    const target = dockerNameOf(reference);
    const others = target === undefined ? undefined : platforms.get(formatReference(target));
    const own = platforms.get(formatReference(reference));
    if (target === undefined || others === undefined || own === undefined) continue;
    const isComplement = own.size > 0 && others.size > 0 && [...own].every((one) => !others.has(one));
    if (isComplement) renamed.set(formatReference(reference), target);
  }
  return renamed;
}

/**
 * Groups the images of all archives by their new names, sorted by name.
 * @throws AirliftError `usage` where an image has no name and none is given, or a rule matches no name; errors of the archives
 */
export async function partsByName(
  archives: readonly Archive[],
  options: MergeNamesOptions,
): Promise<[name: string, NamedParts][]> {
  const { nameRules, onMerged } = options;
  const named = await allNamed(archives, options);
  const renamed = newNames(named, nameRules);
  const byName = new Map<string, NamedParts>();
  for (const one of named) {
    const old = formatReference(one.reference);
    const reference = renamed.get(old) ?? one.reference;
    const name = formatReference(reference);
    const known = byName.get(name) ?? { reference, parts: [] };
    const { archive, image } = one;
    known.parts.push({ archive, image, oldName: name === old ? undefined : familiarName(old) });
    byName.set(name, known);
    if (name !== old && !isCompanionTag(reference.tag)) checkName(one, options);
  }
  const sorted = [...byName].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, { parts }] of sorted)
    if (parts.some(({ oldName }) => oldName !== undefined)) onMerged?.(mergedEvent(name, parts));
  return sorted;
}

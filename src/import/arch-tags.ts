import { checkInterrupted } from '../errors.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import type { Image, Source } from '../oci/source.js';
import { runnableImages } from '../plan/runnable-images.js';
import { taggedOf, type OriginalIndex } from '../publish/publisher.js';
import type { NamedImage } from '../site/names.js';

/**
 * Returns the tag suffix for a platform: `arm64`, `windows-amd64`; with the variant (`armv6`) or the OS version
 * (`windows-amd64-10.0.17763.1`) only if the image has several of them.
 */
function suffixOf({ os, architecture, variant, osVersion }: Platform, all: readonly Platform[]): string {
  const alike = all.filter((other) => other.os === os && other.architecture === architecture);
  const isAmbiguous = (values: readonly unknown[]): boolean => new Set(values).size > 1;
  const name = isAmbiguous(alike.map((other) => other.variant))
    ? `${architecture}${variant ?? ''}`
    : architecture;
  const same = alike.filter((other) => other.variant === variant);
  const version = isAmbiguous(same.map((other) => other.osVersion)) ? `-${osVersion ?? ''}` : '';
  return `${os === 'linux' ? '' : `${os}-`}${name}${version}`;
}

/**
 * Returns the image of each platform under a tag of its own, `TAG-arm64`, for engines that cannot choose from an index. If several
 * images have the same platform, uses the first, as engines do.
 */
export async function archImages(source: Source, { reference, root }: Image): Promise<Image[]> {
  const { registry, repository, tag } = reference;
  if (tag === undefined) return [];
  const runnable = await runnableImages(source, reference, root);
  const platforms = runnable.map(({ platform }) => platform);
  const byPlatform = new Map<string, Image>();
  for (const { platform, mediaType, digest, size } of runnable) {
    const key = formatPlatform(platform);
    const name = { registry, repository, tag: `${tag}-${suffixOf(platform, platforms)}` };
    if (!byPlatform.has(key)) byPlatform.set(key, { reference: name, root: { mediaType, digest, size } });
  }
  return [...byPlatform.values()];
}

/** Returns the names that images get at a site, including those of their platforms if `archTags` is set. */
export async function namesToGive(
  { source, images }: { readonly source: Source; readonly images: Iterable<Image> },
  {
    archTags,
    originalIndex,
    signal,
  }: {
    readonly archTags?: boolean | undefined;
    /** `original` tags the publisher's index, if the image has one. */
    readonly originalIndex?: OriginalIndex | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<NamedImage[]> {
  const names: NamedImage[] = [];
  for (const image of images) {
    names.push({
      source: image.reference,
      digest: taggedOf(image, originalIndex).digest,
      original: image.original?.digest,
    });
    if (archTags !== true) continue;
    checkInterrupted(signal, 'import');
    for (const { reference, root } of await archImages(source, image))
      names.push({ source: reference, digest: root.digest, madeFrom: image.reference });
  }
  return names;
}

import { checkInterrupted } from '../errors.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import type { Image, Source } from '../oci/source.js';
import { runnableImages } from '../plan/runnable-images.js';
import type { NamedImage } from '../site/names.js';

/** `arm64`, `arm`, `armv6` beside another arm, `windows-amd64`, `windows-amd64-10.0.17763.1` beside another Windows. */
function suffixOf({ os, architecture, variant, osVersion }: Platform, all: readonly Platform[]): string {
  const alike = all.filter((other) => other.os === os && other.architecture === architecture);
  const isOneOf = (values: readonly unknown[]): boolean => new Set(values).size > 1;
  const name = isOneOf(alike.map((other) => other.variant))
    ? `${architecture}${variant ?? ''}`
    : architecture;
  const same = alike.filter((other) => other.variant === variant);
  const version = isOneOf(same.map((other) => other.osVersion)) ? `-${osVersion ?? ''}` : '';
  return `${os === 'linux' ? '' : `${os}-`}${name}${version}`;
}

/**
 * The image of each platform under a tag of its own, `TAG-arm64`, for engines that cannot choose from an index. Of several images
 * for the very same platform the first counts, as engines choose.
 */
export async function archImages(source: Source, { reference, root }: Image): Promise<Image[]> {
  const { registry, repository, tag } = reference;
  if (tag === undefined) return [];
  const placed = await runnableImages(source, reference, root);
  const platforms = placed.map(({ platform }) => platform);
  const byPlatform = new Map<string, Image>();
  for (const { platform, mediaType, digest, size } of placed) {
    const key = formatPlatform(platform);
    const name = { registry, repository, tag: `${tag}-${suffixOf(platform, platforms)}` };
    if (!byPlatform.has(key)) byPlatform.set(key, { reference: name, root: { mediaType, digest, size } });
  }
  return [...byPlatform.values()];
}

/** The names that images get at a site, those made for their platforms included where `archTags` asks for them. */
export async function namesToGive(
  { source, images }: { readonly source: Source; readonly images: Iterable<Image> },
  {
    archTags,
    originalIndex,
    signal,
  }: {
    readonly archTags?: boolean | undefined;
    /** `original` tags the publisher's index where there is one. */
    readonly originalIndex?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<NamedImage[]> {
  const names: NamedImage[] = [];
  for (const image of images) {
    names.push({
      source: image.reference,
      digest: ((originalIndex === 'original' ? image.original : undefined) ?? image.root).digest,
      original: image.original?.digest,
    });
    if (archTags !== true) continue;
    checkInterrupted(signal, 'import');
    for (const { reference, root } of await archImages(source, image))
      names.push({ source: reference, digest: root.digest, madeFrom: image.reference });
  }
  return names;
}

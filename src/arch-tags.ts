import { isUnknown, type Platform } from './oci/platform.js';
import { isImageConfig } from './oci/media-types.js';
import { platformOfConfig } from './oci/manifest.js';
import { readContent, readManifest } from './oci/read.js';
import type { Reference } from './oci/reference.js';
import type { Image, Source } from './oci/source.js';
import type { Descriptor } from './oci/descriptor.js';

type Placed = Descriptor & { readonly platform: Platform };

/** `arm64`, `arm`, `armv6` where there is another arm, `windows-amd64`. */
function suffixOf({ os, architecture, variant }: Platform, others: readonly Placed[]): string {
  const alike = others.filter(({ platform }) => platform.os === os && platform.architecture === architecture);
  const name = alike.length > 1 ? `${architecture}${variant ?? ''}` : architecture;
  return os === 'linux' ? name : `${os}-${name}`;
}

/** The images to run of an image: the children of its index, or itself. */
async function placedOf(
  source: Source,
  { reference, root }: Image,
  signal: AbortSignal | undefined,
): Promise<Placed[]> {
  const { manifest } = await readManifest(source, reference, root, { signal });
  if (manifest.kind === 'index')
    return manifest.manifests.filter(
      (child): child is Placed => child.platform !== undefined && !isUnknown(child.platform),
    );
  if (manifest.config === undefined || !isImageConfig(manifest.config.mediaType)) return [];
  const config = await readContent(source, reference, manifest.config, { signal });
  const platform = platformOfConfig(config, `config of ${root.digest}`);
  return platform === undefined ? [] : [{ ...root, platform }];
}

/**
 * The image of each platform under a tag of its own, `TAG-arm64`, for engines that can't choose from an index.
 * @param name what the image is called where it goes
 */
export async function archImages(
  source: Source,
  image: Image,
  name: Reference,
  signal?: AbortSignal,
): Promise<Image[]> {
  if (name.tag === undefined) return [];
  const placed = await placedOf(source, image, signal);
  const byTag = new Map<string, Image>();
  for (const child of placed) {
    const tag = `${name.tag}-${suffixOf(child.platform, placed)}`;
    const { mediaType, digest, size } = child;
    if (!byTag.has(tag)) byTag.set(tag, { reference: { ...name, tag }, root: { mediaType, digest, size } });
  }
  return [...byTag.values()];
}

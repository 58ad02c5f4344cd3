import { AirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import { filterIndex, selectPlatforms } from './oci/filter.js';
import { platformOfConfig, type Index } from './oci/manifest.js';
import { isIndex } from './oci/media-types.js';
import { formatPlatform, type Platform } from './oci/platform.js';
import type { LoadedManifest } from './oci/read.js';
import { formatReference, type Reference } from './oci/reference.js';

/** How deep indexes may be nested, and referrers of referrers followed. */
export const maxDepth = 8;

/** @throws AirliftError `input`, always */
export function refuseDepth(descriptor: Descriptor): never {
  throw new AirliftError('input', `plan ${descriptor.digest}: indexes nested more than ${maxDepth} deep`);
}

/** A manifest read together with the config that names its platform. */
export interface Loaded extends LoadedManifest {
  readonly config: Buffer | undefined;
}

/** Reads a manifest or index of the image whose platforms are chosen; the same one is read once. */
export type Load = (descriptor: Descriptor) => Promise<Loaded>;

export interface ChooseOptions {
  readonly platforms: readonly Platform[];
  readonly skipMissingPlatforms?: boolean | undefined;
  readonly warn?: ((text: string) => void) | undefined;
}

/** What is left of an image: its root, and the indexes that had to be written anew for it. */
export interface Choice {
  readonly root: Descriptor;
  readonly filtered: readonly Loaded[];
}

/**
 * Applies the chosen platforms to an image. Where nothing is dropped the root stays what it is, to the byte.
 * @throws AirliftError `platform-missing` naming what there is
 */
export async function choosePlatforms(
  load: Load,
  reference: Reference,
  root: Descriptor,
  options: ChooseOptions,
): Promise<Choice> {
  const leaves: Descriptor[] = [];
  await survey(load, root, 0, leaves);
  const { kept, missing, available } = selectPlatforms(leaves, options.platforms);
  if (available.length > 0 && missing.length > 0) reportMissing(reference, missing, available, options);
  if (!isIndex(root.mediaType)) return { root, filtered: [] };
  const filtered: Loaded[] = [];
  const chosen = await rebuild(load, root, kept, filtered);
  if (chosen === undefined) {
    throw new AirliftError('input', `plan ${formatReference(reference)}: nothing in its index to carry`);
  }
  return { root: chosen, filtered };
}

function reportMissing(
  reference: Reference,
  missing: readonly Platform[],
  available: readonly string[],
  options: ChooseOptions,
): void {
  const list = missing.map(formatPlatform).join(', ');
  const message = `resolve ${formatReference(reference)}: platform missing; got ${available.join(', ')}, want ${list}`;
  const isNone = missing.length === options.platforms.length;
  if (options.skipMissingPlatforms === true && !isNone) {
    options.warn?.(message);
    return;
  }
  throw new AirliftError('platform-missing', message, {
    hint: isNone
      ? 'choose among these platforms with --platform'
      : '--skip-missing-platforms carries the others',
  });
}

/** Collects the manifests below `descriptor`, each with its platform. */
async function survey(
  load: Load,
  descriptor: Descriptor,
  depth: number,
  leaves: Descriptor[],
): Promise<void> {
  if (depth > maxDepth) refuseDepth(descriptor);
  if (!isIndex(descriptor.mediaType) && descriptor.platform !== undefined) {
    leaves.push(descriptor);
    return;
  }
  const { manifest, config } = await load(descriptor);
  if (manifest.kind === 'index') {
    for (const child of manifest.manifests) await survey(load, child, depth + 1, leaves);
    return;
  }
  const platform =
    config === undefined ? undefined : platformOfConfig(config, `config of ${descriptor.digest}`);
  leaves.push({ ...descriptor, platform });
}

/** The index with only the kept leaves below it: itself where all are kept, undefined where none is. */
async function rebuild(
  load: Load,
  descriptor: Descriptor,
  kept: ReadonlySet<Digest>,
  filtered: Loaded[],
): Promise<Descriptor | undefined> {
  const { bytes, manifest } = await load(descriptor);
  if (manifest.kind !== 'index') return kept.has(descriptor.digest) ? descriptor : undefined;
  const children = new Map<string, Descriptor>();
  for (const child of manifest.manifests) {
    const isKeptLeaf = !isIndex(child.mediaType) && kept.has(child.digest);
    const stays = isIndex(child.mediaType)
      ? await rebuild(load, child, kept, filtered)
      : isKeptLeaf
        ? child
        : undefined;
    if (stays !== undefined) children.set(child.digest, stays);
  }
  if (children.size === 0) return undefined;
  if (manifest.manifests.every((child) => children.get(child.digest)?.digest === child.digest))
    return descriptor;
  const written = filterIndex(bytes, descriptor, (digest) => children.get(digest));
  const parsed: Index = {
    ...manifest,
    manifests: manifest.manifests.flatMap((child) => children.get(child.digest) ?? []),
  };
  filtered.push({ ...written, manifest: parsed, config: undefined });
  return written.descriptor;
}

import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { filterIndex, selectPlatforms, type Selection } from '../oci/filter.js';
import { platformName } from '../oci/index-child.js';
import { maxManifestSize, platformOfConfig, type Index } from '../oci/manifest.js';
import { isImageConfig, isIndex, isManifest } from '../oci/media-types.js';
import { formatPlatform, isUnknown, type Platform } from '../oci/platform.js';
import { readContent, readManifest, type Fetches, type LoadedManifest } from '../oci/read.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';

/** Maximum nesting of indexes, and maximum length of a chain of referrers. */
export const maxDepth = 8;

/**
 * Rejects indexes that are nested too deep.
 * @throws AirliftError `input`, always
 */
export function refuseDepth(descriptor: Descriptor): never {
  throw new AirliftError(
    'input',
    `plan ${descriptor.digest}: indexes are nested more than ${maxDepth} levels deep`,
  );
}

/** A manifest, and the config that names its platform. */
export interface Loaded extends LoadedManifest {
  readonly config: Buffer | undefined;
}

/** Reads a manifest or index and, for an image, the config that names its platform. */
export async function loadManifest(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  signal: AbortSignal | undefined,
): Promise<Loaded> {
  const loaded = await readManifest(source, repository, descriptor, { signal });
  const config = loaded.manifest.kind === 'manifest' ? loaded.manifest.config : undefined;
  const isSmall = config !== undefined && isImageConfig(config.mediaType) && config.size <= maxManifestSize;
  return {
    ...loaded,
    config: isSmall ? await readContent(source, repository, config, { signal }) : undefined,
  };
}

/** Reads a manifest or index of the image whose platforms are chosen; reads each only once. */
export type Load = (descriptor: Descriptor) => Promise<Loaded>;

export interface ChooseOptions {
  /** Platforms to keep; default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Warn about a platform that the image or its registry lacks, instead of failing. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Reports whether the registry is known to have a manifest. */
  readonly has?: ((digest: Digest) => boolean) | undefined;
  readonly warn?: ((text: string) => void) | undefined;
}

/** The chosen part of an image: its root, and the indexes that were written for it. */
export interface Choice {
  readonly root: Descriptor;
  /** The publisher's index, if `root` is a filtered copy of it. */
  readonly original?: Descriptor | undefined;
  readonly filtered: readonly Loaded[];
  /** The platforms that give the same choice again; undefined if all were chosen and none is missing. */
  readonly chosen: readonly Platform[] | undefined;
}

/**
 * Applies the chosen platforms to an image. If no platform is dropped, the root stays the same to the byte.
 * @throws AirliftError `platform-missing` that names the available platforms; `not-found` if the registry lacks a child of an
 *   index
 */
export async function choosePlatforms(
  load: Load,
  reference: Reference,
  root: Descriptor,
  options: ChooseOptions,
): Promise<Choice> {
  const { platforms, skipMissingPlatforms: skips = false } = options;
  if (platforms === undefined && !skips) return { chosen: undefined, root, filtered: [] };
  const absent = new Map<Digest, Descriptor>();
  const finder = new LeafFinder(load, skips ? (child) => void absent.set(child.digest, child) : undefined);
  const found = await finder.leavesOf(root);
  const select = (): Selection => {
    const present = found.filter((leaf) => !absent.has(leaf.digest));
    return platforms === undefined ? allOf(present) : selectPlatforms(present, platforms);
  };
  let selection = select();
  // A leaf that replaces an absent one may be absent too.
  const isUnsure = ({ digest }: Descriptor): boolean =>
    selection.kept.has(digest) && digest !== root.digest && options.has?.(digest) !== true;
  while (skips && (await finder.noteAbsent(root, found.filter(isUnsure)))) selection = select();
  for (const child of absent.values())
    options.warn?.(
      `${formatReference(reference)}: left out ${child.digest} (${platformName(child)}), which its index lists and the registry does not have`,
    );
  const { kept, missing, available } = selection;
  if (platforms !== undefined && missing.length > 0 && (available.length > 0 || absent.size > 0))
    reportMissing(reference, missing, available, platforms, options);
  const all = absent.size > 0 && platforms === undefined ? platformsOf(found, kept) : platforms;
  const chosen = all?.filter((platform) => !missing.includes(platform));
  if (!isIndex(root.mediaType)) return { chosen, root, filtered: [] };
  const filtered: Loaded[] = [];
  const left = await rebuild({ load, kept, absent, filtered }, root);
  if (left === undefined) {
    throw new AirliftError('input', `plan ${formatReference(reference)}: its index lists nothing to carry`);
  }
  return { chosen, root: left, original: left.digest === root.digest ? undefined : root, filtered };
}

function allOf(leaves: readonly Descriptor[]): Selection {
  return { kept: new Set(leaves.map(({ digest }) => digest)), missing: [], available: [] };
}

function platformsOf(leaves: readonly Descriptor[], kept: ReadonlySet<Digest>): Platform[] {
  const platforms = new Map<string, Platform>();
  for (const { digest, platform } of leaves)
    if (platform !== undefined && !isUnknown(platform) && kept.has(digest))
      platforms.set(formatPlatform(platform), platform);
  return [...platforms.values()];
}

function reportMissing(
  reference: Reference,
  missing: readonly Platform[],
  available: readonly string[],
  wanted: readonly Platform[],
  options: ChooseOptions,
): void {
  const list = missing.map(formatPlatform).join(', ');
  const message = `resolve ${formatReference(reference)}: platform missing; got ${available.join(', ') || 'none'}, want ${list}`;
  const isNone = missing.length === wanted.length;
  if (options.skipMissingPlatforms === true && !isNone) {
    options.warn?.(message);
    return;
  }
  throw new AirliftError('platform-missing', message, {
    hint: isNone
      ? 'choose among these platforms with `platforms`'
      : '`skipMissingPlatforms` carries the others',
  });
}

/**
 * Returns the error for a child that the registry of its index lacks; returns other errors unchanged.
 * @param parent the index
 */
export function sparseError(error: unknown, parent: Descriptor, child: Descriptor): unknown {
  if (!isAirliftError(error, 'not-found')) return error;
  return new AirliftError(
    'not-found',
    `${error.message}; index ${parent.digest} lists it for ${platformName(child)}`,
    {
      cause: error,
      status: error.status,
      hint: 'choose other platforms with `platforms`, or leave out what is missing with `skipMissingPlatforms`',
    },
  );
}

/** Finds the manifests below an index, each with its platform. */
class LeafFinder {
  constructor(
    private readonly load: Load,
    /** Called for children that the registry lacks; default: a missing child is an error. */
    private readonly onAbsent: ((child: Descriptor) => void) | undefined,
  ) {}

  async leavesOf(root: Descriptor): Promise<Descriptor[]> {
    const leaves: Descriptor[] = [];
    await this.#collect(root, 0, leaves, undefined);
    return leaves;
  }

  /** Reports whether the registry lacks any of these leaves, and records those that it lacks. */
  async noteAbsent(root: Descriptor, leaves: readonly Descriptor[]): Promise<boolean> {
    let isAnyAbsent = false;
    for (const leaf of leaves)
      if (isManifest(leaf.mediaType) && (await this.#loadChild(leaf, root)) === undefined) isAnyAbsent = true;
    return isAnyAbsent;
  }

  async #collect(
    descriptor: Descriptor,
    depth: number,
    leaves: Descriptor[],
    parent: Descriptor | undefined,
  ): Promise<void> {
    if (depth > maxDepth) refuseDepth(descriptor);
    const isLeaf = parent !== undefined && !isManifest(descriptor.mediaType);
    if (isLeaf || (!isIndex(descriptor.mediaType) && descriptor.platform !== undefined)) {
      leaves.push(descriptor);
      return;
    }
    const loaded =
      parent === undefined ? await this.load(descriptor) : await this.#loadChild(descriptor, parent);
    if (loaded === undefined) return;
    const { manifest, config } = loaded;
    if (manifest.kind === 'index') {
      for (const child of manifest.manifests) await this.#collect(child, depth + 1, leaves, descriptor);
      return;
    }
    const platform =
      config === undefined ? undefined : platformOfConfig(config, `config of ${descriptor.digest}`);
    leaves.push({ ...descriptor, platform });
  }

  async #loadChild(child: Descriptor, parent: Descriptor): Promise<Loaded | undefined> {
    try {
      return await this.load(child);
    } catch (error) {
      if (this.onAbsent === undefined || !isAirliftError(error, 'not-found'))
        throw sparseError(error, parent, child);
      this.onAbsent(child);
      return undefined;
    }
  }
}

interface Rebuilding {
  readonly load: Load;
  readonly kept: ReadonlySet<Digest>;
  readonly absent: ReadonlyMap<Digest, Descriptor>;
  /** Receives the indexes that are written. */
  readonly filtered: Loaded[];
}

/** Writes an index with only the kept leaves; returns the index itself if all are kept, undefined if none is. */
async function rebuild(work: Rebuilding, descriptor: Descriptor): Promise<Descriptor | undefined> {
  const { bytes, manifest } = await work.load(descriptor);
  if (manifest.kind !== 'index') return work.kept.has(descriptor.digest) ? descriptor : undefined;
  const children = new Map<string, Descriptor>();
  for (const child of manifest.manifests) {
    if (work.absent.has(child.digest)) continue;
    const isKeptLeaf = !isIndex(child.mediaType) && work.kept.has(child.digest);
    const stays = isIndex(child.mediaType) ? await rebuild(work, child) : isKeptLeaf ? child : undefined;
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
  work.filtered.push({ ...written, manifest: parsed, config: undefined });
  return written.descriptor;
}

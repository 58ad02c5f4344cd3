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

/** Reads a manifest or index, and the config that names the platform of an image. */
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

/** Reads a manifest or index of the image whose platforms are chosen; the same one is read once. */
export type Load = (descriptor: Descriptor) => Promise<Loaded>;

export interface ChooseOptions {
  /** Platforms to keep; undefined keeps all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** A platform that the image or its registry lacks is a warning, not an error. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Whether a manifest is known to be there. */
  readonly has?: ((digest: Digest) => boolean) | undefined;
  readonly warn?: ((text: string) => void) | undefined;
}

/** What is left of an image: its root, and the indexes that had to be written anew for it. */
export interface Choice {
  readonly root: Descriptor;
  readonly filtered: readonly Loaded[];
  /** The platforms to choose to get the same again; undefined where nothing was chosen or left out. */
  readonly taken: readonly Platform[] | undefined;
}

/**
 * Applies the chosen platforms to an image. Where nothing is dropped the root stays what it is, to the byte.
 * @throws AirliftError `platform-missing` naming what there is; `not-found` where the registry lacks what an index names
 */
export async function choosePlatforms(
  load: Load,
  reference: Reference,
  root: Descriptor,
  options: ChooseOptions,
): Promise<Choice> {
  const { platforms, skipMissingPlatforms: skips = false } = options;
  const absent = new Map<Digest, Descriptor>();
  const survey = new Survey(load, skips ? (child) => void absent.set(child.digest, child) : undefined);
  const found = await survey.leavesOf(root);
  const select = (): Selection => {
    const there = found.filter((leaf) => !absent.has(leaf.digest));
    return platforms === undefined ? allOf(there) : selectPlatforms(there, platforms);
  };
  let selection = select();
  // A leaf that takes the place of an absent one may be absent too.
  const isUnsure = ({ digest }: Descriptor): boolean =>
    selection.kept.has(digest) && digest !== root.digest && options.has?.(digest) !== true;
  while (skips && (await survey.noteAbsent(root, found.filter(isUnsure)))) selection = select();
  for (const child of absent.values())
    options.warn?.(
      `${formatReference(reference)}: left out ${child.digest} (${platformName(child)}), which its index names and the registry does not have`,
    );
  const { kept, missing, available } = selection;
  if (platforms !== undefined && missing.length > 0 && (available.length > 0 || absent.size > 0))
    reportMissing(reference, missing, available, platforms, options);
  const taken = absent.size > 0 && platforms === undefined ? platformsOf(found, kept) : platforms;
  const chosen = { taken: taken?.filter((platform) => !missing.includes(platform)) };
  if (!isIndex(root.mediaType)) return { ...chosen, root, filtered: [] };
  const filtered: Loaded[] = [];
  const left = await rebuild({ load, kept, absent, filtered }, root);
  if (left === undefined) {
    throw new AirliftError('input', `plan ${formatReference(reference)}: nothing in its index to carry`);
  }
  return { ...chosen, root: left, filtered };
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
 * The error for a child that an index names and its registry does not have; other errors stay as they are.
 * @param parent the index
 */
export function sparseError(error: unknown, parent: Descriptor, child: Descriptor): unknown {
  if (!isAirliftError(error, 'not-found')) return error;
  return new AirliftError(
    'not-found',
    `${error.message}; index ${parent.digest} names it for ${platformName(child)}`,
    {
      cause: error,
      status: error.status,
      hint: 'choose other platforms with `platforms`, or leave out what is missing with `skipMissingPlatforms`',
    },
  );
}

/** Finds the manifests below an index, each with its platform. */
class Survey {
  constructor(
    private readonly load: Load,
    /** Is told of children that the registry does not have; without it they are an error. */
    private readonly onAbsent: ((child: Descriptor) => void) | undefined,
  ) {}

  async leavesOf(root: Descriptor): Promise<Descriptor[]> {
    const leaves: Descriptor[] = [];
    await this.#collect(root, 0, leaves, undefined);
    return leaves;
  }

  /** Looks for leaves that are named and not there. */
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
  /** Takes the indexes that were written anew. */
  readonly filtered: Loaded[];
}

/** The index with only the kept leaves below it: itself where all are kept, undefined where none is. */
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

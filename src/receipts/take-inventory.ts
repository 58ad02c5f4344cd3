import { forEachOf } from '../concurrency.js';
import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { verdictOf } from '../oci/guess.js';
import { platformOfConfig } from '../oci/manifest.js';
import { isForeignLayer, isImageConfig, isIndex, isManifest } from '../oci/media-types.js';
import { formatPlatform, isUnknown, type Platform } from '../oci/platform.js';
import { readContent, readManifest, type LoadedManifest } from '../oci/read.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import type { Target, TargetOptions } from '../oci/target.js';
import { contentOfPlatform, type ReceiptEntry } from './receipt.js';

/** Images listed at a time; each has several requests in flight. */
const concurrency = 4;
/** Maximum nesting of indexes. */
const maxDepth = 8;

/** A registry to list. */
export type ListedRegistry = Source &
  Pick<Target, 'exists'> & {
    repositories(registry: string, options?: TargetOptions): AsyncIterable<string>;
    tags(repository: Repository, options?: TargetOptions): AsyncIterable<string>;
  };

/** What a registry holds. */
export interface Inventory {
  readonly entries: readonly ReceiptEntry[];
  /** Number of names that are listed. */
  readonly images: number;
  /** Names that the registry does not have. */
  readonly absent: readonly string[];
  /** Names and digests that the registry has, without all of their content: they are not listed. */
  readonly incomplete: readonly string[];
}

/**
 * Yields every tag of a registry, or of the part of it below a path.
 * @throws AirliftError what listing repositories throws, with the flag that avoids the list
 */
export async function* namesIn(
  site: ListedRegistry,
  { registry, prefix }: { readonly registry: string; readonly prefix?: string | undefined },
  signal?: AbortSignal,
): AsyncGenerator<Reference> {
  try {
    for await (const repository of site.repositories(registry, { signal })) {
      if (prefix !== undefined && repository !== prefix && !repository.startsWith(`${prefix}/`)) continue;
      yield* tagsOf(site, { registry, repository }, signal);
    }
  } catch (error) {
    if (!isAirliftError(error, 'not-found', 'unauthorized', 'denied', 'registry')) throw error;
    throw new AirliftError(error.code, error.message, {
      cause: error,
      status: error.status,
      hint: 'many registries list repositories only to administrators, or not at all: name the images with `imageNames` or `bundles`',
    });
  }
}

async function* tagsOf(
  site: ListedRegistry,
  repository: Repository,
  signal: AbortSignal | undefined,
): AsyncGenerator<Reference> {
  try {
    for await (const tag of site.tags(repository, { signal })) yield { ...repository, tag };
  } catch (error) {
    // A repository whose last tag was deleted.
    if (!isAirliftError(error, 'not-found')) throw error;
  }
}

/** Lists what a registry holds under some names, after checks that every blob is there. */
class InventoryTaker {
  readonly entries: ReceiptEntry[] = [];
  readonly absent: string[] = [];
  readonly incomplete: string[] = [];
  images = 0;
  /** Names that have been added. */
  readonly #names = new Set<string>();
  /** Whether a repository has a blob or a manifest with all of its content, by repository and digest. */
  readonly #known = new Map<string, Promise<boolean>>();

  constructor(
    private readonly site: ListedRegistry,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Adds an image, once if its name is given several times, as by the bundles of several months. */
  async add(name: Reference): Promise<void> {
    checkInterrupted(this.signal, 'list images');
    const text = formatReference(name);
    if (this.#names.has(text)) return;
    this.#names.add(text);
    const options = { signal: this.signal };
    let loaded: LoadedManifest;
    try {
      const root = await this.site.resolve(name, { ...options, isGuess: true });
      loaded = await readManifest(this.site, name, root, options);
    } catch (error) {
      if (verdictOf(error) !== 'absent') throw error;
      this.absent.push(text);
      return;
    }
    const { digest } = loaded.descriptor;
    const isWhole = await this.#isWhole(name, loaded, 0);
    const content =
      loaded.manifest.kind === 'index'
        ? 'index'
        : isWhole
          ? contentOfPlatform(await this.#platformOf(name, loaded))
          : undefined;
    if (content === undefined) {
      this.incomplete.push(text);
      return;
    }
    this.images++;
    this.entries.push({ repository: name.repository, tag: name.tag, digest, content });
  }

  /** Reports whether a manifest has all of its content, and lists the manifests below an index that have. */
  async #isWhole(at: Repository, { manifest }: LoadedManifest, depth: number): Promise<boolean> {
    if (manifest.kind === 'index') {
      const children = await Promise.all(
        manifest.manifests.map((child) => this.#hasChild(at, child, depth + 1)),
      );
      return children.every((isPresent) => isPresent);
    }
    const parts = [...(manifest.config === undefined ? [] : [manifest.config]), ...manifest.layers];
    const held = await Promise.all(
      parts
        .filter((part) => !isForeignLayer(part.mediaType))
        .map((part) => this.#once(at, part, () => this.#has(at, part))),
    );
    return held.every((isPresent) => isPresent);
  }

  /** Reports whether the registry has a child of an index with all of its content, and lists the child if so. */
  #hasChild(at: Repository, child: Descriptor, depth: number): Promise<boolean> {
    return this.#once(at, child, async () => {
      if (!isManifest(child.mediaType)) return this.#has(at, child);
      // The children of a filtered image that the site does not have are normal.
      if (depth > maxDepth || !(await this.#has(at, child))) return false;
      const loaded = await readManifest(this.site, at, child, { signal: this.signal });
      const isWhole = await this.#isWhole(at, loaded, depth);
      if (!isWhole) this.incomplete.push(`${formatRepository(at)}@${child.digest}`);
      else if (!isIndex(child.mediaType))
        this.entries.push({
          repository: at.repository,
          digest: child.digest,
          content: contentOfPlatform(nameOf(child.platform)),
        });
      return isWhole;
    });
  }

  #once(at: Repository, { digest }: Descriptor, ask: () => Promise<boolean>): Promise<boolean> {
    const key = `${at.repository}@${digest}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      known = ask();
      this.#known.set(key, known);
    }
    return known;
  }

  #has(at: Repository, part: Descriptor): Promise<boolean> {
    return this.site.exists(at, part, { signal: this.signal, isGuess: true });
  }

  async #platformOf(at: Repository, { manifest }: LoadedManifest): Promise<string | undefined> {
    const config = manifest.kind === 'manifest' ? manifest.config : undefined;
    if (config === undefined || !isImageConfig(config.mediaType)) return undefined;
    try {
      const bytes = await readContent(this.site, at, config, { signal: this.signal });
      return nameOf(platformOfConfig(bytes, `config ${config.digest}`));
    } catch (error) {
      if (!isAirliftError(error, 'input')) throw error;
      return undefined;
    }
  }
}

function nameOf(platform: Platform | undefined): string | undefined {
  return platform === undefined || isUnknown(platform) ? undefined : formatPlatform(platform);
}

/**
 * Lists what a registry holds under the given names. A manifest is listed only if the registry has every blob of it.
 * @throws AirliftError `unauthorized`, `denied`, `network`, `tls`, … if the registry does not answer; `interrupted`
 */
export async function takeInventory(
  site: ListedRegistry,
  names: Iterable<Reference> | AsyncIterable<Reference>,
  signal?: AbortSignal,
): Promise<Inventory> {
  const taker = new InventoryTaker(site, signal);
  await forEachOf(names, concurrency, (name) => taker.add(name));
  const { entries, images, absent, incomplete } = taker;
  return { entries, images, absent: absent.sort(), incomplete: incomplete.sort() };
}

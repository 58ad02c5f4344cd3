import { rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AirliftError, checkInterrupted, isMissingPath, systemCodeOf } from '../errors.js';
import { isDigest, type Digest } from '../oci/digest.js';
import { isIndex } from '../oci/media-types.js';
import { childrenOf, DirectoryStore } from './store.js';
import { collect, ifPresent, nameBeforeCollection, restore } from './store-files.js';
import { digestOfFileName, StoreLayout } from './store-layout.js';
import { namesIn } from './store-listing.js';

/** Milliseconds for which content without a tag is kept: a push may take that long from its first layer to its tag. Default: a day. */
const defaultAge = 24 * 3600 * 1000;

export interface PruneOptions {
  /** Find what would be removed, and remove nothing. */
  readonly dryRun?: boolean | undefined;
  /** Keep what was pushed, or found by a client that pushes, within these milliseconds. Default: a day. */
  readonly minAge?: number | undefined;
  /** Receives each manifest that is removed, as `repository@digest`. */
  readonly onManifest?: ((name: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PruneSummary {
  /** Manifests and indexes removed from repositories. */
  readonly manifests: number;
  /** Files removed from `blobs/`. */
  readonly blobs: number;
  /** Bytes of these files. */
  readonly bytes: number;
  /** Manifests and indexes that stay. */
  readonly keptManifests: number;
}

/**
 * Refuses a directory that is not a store, so that no other program's files are removed: an OCI layout has `blobs/`, too.
 * @throws AirliftError `not-found`, `input`
 */
async function refuseOthers({ root: directory, repositories }: StoreLayout): Promise<void> {
  const isDirectory = async (path: string): Promise<boolean | undefined> =>
    (await ifPresent(stat(path)))?.isDirectory();
  const found = await isDirectory(directory);
  if (found === undefined) throw new AirliftError('not-found', `prune ${directory}: no such directory`);
  const isStore =
    found &&
    (await isDirectory(repositories)) === true &&
    (await isDirectory(join(directory, 'oci-layout'))) === undefined;
  if (isStore) return;
  throw new AirliftError('input', `prune ${directory}: not the directory of a served registry`, {
    hint: 'name the directory that airlift serve --store serves',
  });
}

/** Lists the repositories below a folder, also those without a manifest. */
async function* repositoriesIn(folder: string, path = ''): AsyncGenerator<string> {
  const names = await namesIn(folder);
  if (path !== '' && names.some((name) => name.startsWith('_'))) yield path;
  for (const name of names) {
    if (name.startsWith('_')) continue;
    yield* repositoriesIn(join(folder, name), path === '' ? name : `${path}/${name}`);
  }
}

/**
 * Removes what no tag reaches from a store: manifests, with their layers, and unfinished uploads that are older than a day. Referrers
 * stay with their subject. An index without a tag stays if all of its children in the repository stay: pins of a filtered image use the
 * publisher's index. Servers may use the store meanwhile. A prune that is killed leaves a store that works; the next one removes the rest.
 * @throws AirliftError `not-found`, `input` if the directory is no store, `damaged` if a manifest that stays cannot be read, `interrupted`
 */
export async function pruneStore(directory: string, options: PruneOptions = {}): Promise<PruneSummary> {
  const layout = new StoreLayout(directory);
  await refuseOthers(layout);
  return await new PruneRun(await DirectoryStore.open(directory), layout, options).prune();
}

/** What a repository holds, and what of it stays. */
interface RepositoryContent {
  readonly repository: string;
  readonly manifests: readonly Digest[];
  readonly blobs: readonly Digest[];
  /** Manifests and blobs that stay. */
  readonly kept: ReadonlySet<Digest>;
  /** Indexes that no tag reaches. */
  readonly indexes: ReadonlySet<Digest>;
  /** Folders in which nothing has changed for a while, the innermost first. */
  readonly oldFolders: readonly string[];
}

class PruneRun {
  readonly #cutoff: number;
  /** Content that some repository holds. */
  readonly #live = new Set<Digest>();
  #manifests = 0;
  #keptManifests = 0;
  #blobs = 0;
  #bytes = 0;

  constructor(
    private readonly store: DirectoryStore,
    private readonly layout: StoreLayout,
    private readonly options: PruneOptions,
  ) {
    this.#cutoff = Date.now() - (options.minAge ?? defaultAge);
  }

  async prune(): Promise<PruneSummary> {
    // Everything is read before anything is removed, so that damage leaves the store as it is.
    const contents: RepositoryContent[] = [];
    for await (const repository of repositoriesIn(this.layout.repositories))
      contents.push(await this.#survey(repository));
    for (const content of contents) await this.#sweepRepository(content);
    await this.#sweepBlobs();
    if (this.options.dryRun !== true) await this.store.removeStaleUploads();
    return {
      manifests: this.#manifests,
      blobs: this.#blobs,
      bytes: this.#bytes,
      keptManifests: this.#keptManifests,
    };
  }

  #checkInterrupted(): void {
    checkInterrupted(this.options.signal, `prune ${this.layout.root}`);
  }

  /** Lists the digests in a folder, and takes back files of a prune that was killed. */
  async #digestsIn(folder: string): Promise<Digest[]> {
    const digests = new Set<Digest>();
    for (const name of await namesIn(folder)) {
      const before = nameBeforeCollection(name);
      if (before !== undefined) await restore(join(folder, before));
      const digest = digestOfFileName(before ?? name);
      if (digest !== undefined) digests.add(digest);
    }
    return [...digests];
  }

  async #survey(repository: string): Promise<RepositoryContent> {
    this.#checkInterrupted();
    const manifests = await this.#digestsIn(this.layout.manifests(repository));
    const blobs = await this.#digestsIn(this.layout.blobs(repository));
    const held = new Set(manifests);
    const kept = new Set<Digest>();
    for (const tag of await namesIn(this.layout.tags(repository))) {
      const digest = await this.store.resolveTag(repository, tag);
      if (digest !== undefined) await this.#reach(repository, digest, held, kept);
    }
    for (const digest of manifests) {
      if (!kept.has(digest) && (await this.#isYoung(this.layout.manifest(repository, digest))))
        await this.#reach(repository, digest, held, kept);
    }
    const indexes = await this.#keepIndexes(repository, held, kept);
    return { repository, manifests, blobs, kept, indexes, oldFolders: await this.#oldFolders(repository) };
  }

  async #isYoung(path: string): Promise<boolean> {
    const found = await ifPresent(stat(path));
    return found !== undefined && found.mtimeMs >= this.#cutoff;
  }

  /** Adds a manifest, everything below it, and its referrers to what stays. */
  async #reach(
    repository: string,
    root: Digest,
    held: ReadonlySet<Digest>,
    kept: Set<Digest>,
  ): Promise<void> {
    const waiting = [root];
    for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
      if (kept.has(digest)) continue;
      kept.add(digest);
      if (!held.has(digest)) continue;
      waiting.push(...(await this.#childrenOf(repository, digest)));
      waiting.push(...(await this.#digestsIn(this.layout.referrers(repository, digest))));
    }
  }

  /** Returns nothing for a manifest that was deleted meanwhile. */
  async #childrenOf(repository: string, digest: Digest): Promise<Digest[]> {
    const manifest = await this.store.manifest(repository, digest);
    if (manifest !== undefined) return childrenOf(manifest);
    if ((await ifPresent(stat(this.layout.manifest(repository, digest)))) === undefined) return [];
    throw new AirliftError(
      'damaged',
      `prune ${this.layout.root}: the manifest ${repository}@${digest} cannot be read, so what it needs is unknown; nothing was removed`,
      { hint: 'push the image again, or delete its tag' },
    );
  }

  /** Adds the indexes without a tag whose children all stay. Returns all indexes without a tag. */
  async #keepIndexes(
    repository: string,
    held: ReadonlySet<Digest>,
    kept: Set<Digest>,
  ): Promise<ReadonlySet<Digest>> {
    const indexes = new Map<Digest, Digest[]>();
    for (const digest of held) {
      if (kept.has(digest)) continue;
      const manifest = await this.store.manifest(repository, digest);
      if (manifest !== undefined && isIndex(manifest.mediaType))
        indexes.set(
          digest,
          childrenOf(manifest).filter((child) => held.has(child)),
        );
    }
    // An index that stays may be the child of another.
    for (let before = -1; before !== kept.size;) {
      before = kept.size;
      for (const [digest, children] of indexes)
        if (children.length > 0 && children.every((child) => kept.has(child)))
          await this.#reach(repository, digest, held, kept);
    }
    return new Set(indexes.keys());
  }

  /** Indexes first, blobs last: if this ends early, nothing that stays by then lacks what it names. */
  async #sweepRepository(content: RepositoryContent): Promise<void> {
    const { repository, manifests, blobs, kept, indexes, oldFolders } = content;
    const ordered = [...manifests].sort((a, b) => Number(indexes.has(b)) - Number(indexes.has(a)));
    for (const digest of ordered) {
      this.#checkInterrupted();
      if (kept.has(digest) || !(await this.#collect(this.layout.manifest(repository, digest)))) {
        this.#live.add(digest);
        this.#keptManifests++;
        continue;
      }
      this.#manifests++;
      this.options.onManifest?.(`${repository}@${digest}`);
    }
    for (const digest of blobs) {
      this.#checkInterrupted();
      if (kept.has(digest) || !(await this.#collect(this.layout.blob(repository, digest))))
        this.#live.add(digest);
    }
    if (this.options.dryRun === true) return;
    await this.#sweepReferrers(repository);
    for (const folder of oldFolders) await removeIfEmpty(folder);
  }

  /** Removes entries of referrers that the repository lacks: of those removed now, and of those that an earlier run was removing. */
  async #sweepReferrers(repository: string): Promise<void> {
    for (const subject of await this.#digestsIn(this.layout.subjects(repository))) {
      const entries = this.layout.referrers(repository, subject);
      for (const digest of await this.#digestsIn(entries)) {
        const manifest = await ifPresent(stat(this.layout.manifest(repository, digest)));
        if (manifest === undefined)
          await collect(this.layout.referrer(repository, subject, digest), this.#cutoff);
      }
    }
  }

  /** A folder that a push has just created must stay until the push has put its file there. */
  async #oldFolders(repository: string): Promise<string[]> {
    const { layout } = this;
    const subjects = layout.subjects(repository);
    const folders = [
      ...(await namesIn(subjects)).map((name) => join(subjects, name)),
      subjects,
      layout.manifests(repository),
      layout.blobs(repository),
      layout.tags(repository),
      layout.repository(repository),
    ];
    const old: string[] = [];
    for (const each of folders) if (!(await this.#isYoung(each))) old.push(each);
    return old;
  }

  async #sweepBlobs(): Promise<void> {
    const { contents } = this.layout;
    for (const algorithm of await namesIn(contents)) {
      const folder = join(contents, algorithm);
      for (const name of await namesIn(folder)) {
        this.#checkInterrupted();
        const before = nameBeforeCollection(name);
        if (before !== undefined) await restore(join(folder, before));
        const digest = `${algorithm}:${before ?? name}`;
        if (!isDigest(digest) || this.#live.has(digest)) continue;
        const path = this.layout.content(digest);
        const size = (await ifPresent(stat(path)))?.size;
        if (size === undefined || !(await this.#collect(path))) continue;
        this.#blobs++;
        this.#bytes += size;
      }
    }
  }

  /** Removes an old file; in a dry run, finds out whether it is one. */
  async #collect(path: string): Promise<boolean> {
    if (this.options.dryRun === true) return !(await this.#isYoung(path));
    return await collect(path, this.#cutoff);
  }
}

/** Removes a folder if it is empty. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!isMissingPath(error) && !['ENOTEMPTY', 'EEXIST'].includes(systemCodeOf(error) ?? '')) throw error;
  }
}

import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { isRefusedReading, verdictOf } from '../oci/guess.js';
import { readableOf } from '../oci/readable.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import type { OpenContent, Pushed, Target } from '../oci/target.js';
import type { BlobNode } from '../plan/planner.js';
import { isLoss, isOutage } from '../plan/outages.js';
import type { OnEvent } from '../progress.js';
import { whileOpening } from '../transfer/opening.js';
import { fromAnyRepository } from '../transfer/other-repositories.js';
import { Slots } from '../concurrency.js';
import { BlobRecords } from './blob-records.js';

/** A registry to push content to and to read it back from. */
export type SiteRegistry = Source &
  Target & {
    /** Lists the tags of a repository; undefined if the site cannot list them. */
    tags?(
      repository: Repository,
      options?: { readonly signal?: AbortSignal | undefined },
    ): AsyncIterable<string>;
  };

export interface BlobOptions {
  /** Concurrent blob transfers. */
  readonly concurrency: number;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Finds the repositories of the source that have a blob; called when its own repository fails to provide it. */
  readonly otherRepositories?: ((digest: Digest) => Promise<Iterable<Repository>>) | undefined;
  /** Returns a repository of the site that is known to hold a blob, to mount it from. */
  readonly heldBy?: ((digest: Digest) => Repository | undefined) | undefined;
  /** Called when the registry accepted content and refuses to show it. */
  readonly onUnread?: ((name: string, error: unknown) => void) | undefined;
}

/**
 * The largest blob that is sent without asking first whether the repository holds it: sending so few bytes costs about as much as asking.
 */
const unaskedSize = 64 * 1024;

/** Counts of the blobs that a run has handled so far. */
export interface BlobTotals {
  uploadedBlobs: number;
  uploadedBytes: number;
  mountedBlobs: number;
  existingBlobs: number;
  existingBytes: number;
}

/** The content of a blob in one repository of the source. */
class BlobOrigin {
  #failure: unknown;

  constructor(
    private readonly source: Source,
    readonly node: BlobNode,
    private readonly target: Repository,
    private readonly options: Pick<BlobOptions, 'onEvent' | 'signal'>,
  ) {}

  /** Opens the content, and reports progress as it passes. */
  readonly open: OpenContent = async (offset) => {
    const { descriptor, bytes: known } = this.node;
    if (known !== undefined) return readableOf(known, offset);
    const { digest, size } = descriptor;
    const { onEvent, signal } = this.options;
    this.#failure = undefined;
    const fail = (error: unknown): void => void (this.#failure = error);
    const stream = await whileOpening(signal, (opening) =>
      this.source.fetch(this.node.repository, descriptor, { offset, signal: opening, reusesMemory: true }),
    ).catch((error: unknown) => {
      fail(error);
      throw error;
    });
    const repository = formatRepository(this.target);
    let bytes = offset;
    onEvent?.({ event: 'blob', digest, size, bytes, repository });
    stream.on('data', (chunk: Buffer) =>
      onEvent?.({ event: 'blob', digest, size, bytes: (bytes += chunk.byteLength), repository }),
    );
    stream.once('error', fail);
    stream.pause();
    return stream;
  };

  /** Reports whether a push failed because this repository did not provide the content, or provided wrong content. */
  isCauseOf(error: unknown): boolean {
    if (isAirliftError(error, 'digest-mismatch', 'size-mismatch')) return true;
    return isLoss(this.#failure) || isOutage(this.#failure);
  }
}

/** A push of a blob to one repository. */
interface Push {
  /** Whether the repository held the blob before; false if only the mount will tell. */
  readonly exists: Promise<boolean>;
  readonly isAskedByMount: boolean;
  readonly done: Promise<Pushed>;
}

/** Reports whether a repository holds a blob. Without a clear answer it does not: a mount only saves an upload. */
async function mayMountFrom(exists: Promise<boolean>): Promise<boolean> {
  try {
    return await exists;
  } catch (error) {
    if (verdictOf(error) === 'fatal') throw error;
    return false;
  }
}

/** Pushes blobs to the repositories of a site: uploads each once and mounts it in every other repository that needs it. */
export class BlobPublisher {
  readonly totals: BlobTotals = {
    uploadedBlobs: 0,
    uploadedBytes: 0,
    mountedBlobs: 0,
    existingBlobs: 0,
    existingBytes: 0,
  };
  readonly #slots: Slots;
  readonly #records = new BlobRecords();
  /** One object per repository, so that repositories compare by identity. */
  readonly #repositories = new Map<string, Repository>();
  /** Pushes in progress, by digest and repository. */
  readonly #pushes = new Map<Digest, Map<Repository, Push>>();
  /** First uploads in progress, by digest: another repository that needs the blob waits and mounts it. */
  readonly #uploading = new Map<Digest, Promise<Pushed>>();

  constructor(
    private readonly source: Source,
    private readonly site: SiteRegistry,
    private readonly options: BlobOptions,
  ) {
    this.#slots = new Slots(options.concurrency);
  }

  /** Returns the total size of the blobs that no earlier call has counted. */
  plannedBytes(blobs: readonly BlobNode[]): number {
    let bytes = 0;
    for (const { descriptor } of blobs) if (this.#records.plan(descriptor.digest)) bytes += descriptor.size;
    return bytes;
  }

  /**
   * Pushes the blobs that a repository does not hold yet.
   * @param isNew whether the repository lacks the manifest that needs them, so that it probably lacks them too
   * @returns whether there were any
   * @throws AirliftError `registry` if the registry accepted a blob and does not have it; what source and site throw
   */
  async push(blobs: readonly BlobNode[], name: Repository, isNew = false): Promise<boolean> {
    const at = this.#repositoryOf(name);
    const results = await Promise.allSettled(blobs.map((node) => this.#pushBlob(node, at, isNew)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return results.some((result) => result.status === 'fulfilled' && result.value !== 'existed');
  }

  #repositoryOf({ registry, repository }: Repository): Repository {
    const key = formatRepository({ registry, repository });
    let known = this.#repositories.get(key);
    if (known === undefined) {
      known = { registry, repository };
      this.#repositories.set(key, known);
    }
    return known;
  }

  /**
   * Reports whether the request that starts the upload of a blob can also ask whether the repository holds it, by a mount from the
   * repository itself. This saves a request. A registry that ignores mounts gets the blob once more, so it must be small.
   */
  #canAskByMount({ descriptor: { digest, size }, repository }: BlobNode, name: Repository): boolean {
    if (size > unaskedSize || repository.registry === name.registry) return false;
    const isElsewhere = this.#isAnywhere(digest) || this.#pushes.has(digest);
    return !isElsewhere && this.options.heldBy?.(digest) === undefined;
  }

  async #pushBlob(node: BlobNode, name: Repository, isNew: boolean): Promise<Pushed> {
    const { digest } = node.descriptor;
    const { signal } = this.options;
    const findRunning = (): Push | undefined => this.#pushes.get(digest)?.get(name);
    // Another image may be pushing the blob to the same repository.
    for (let running = findRunning(); running !== undefined; running = findRunning())
      await running.done.catch(() => undefined);
    checkInterrupted(signal, 'publish');
    if (this.#records.holdersOf(digest).includes(name)) return 'existed';
    const isAskedByMount = isNew && this.#canAskByMount(node, name);
    const exists = isAskedByMount
      ? Promise.resolve(false)
      : this.site.exists(name, node.descriptor, { isGuess: true, signal });
    const done = this.#pushIfMissing(node, name, exists);
    const pushes = this.#pushes.get(digest) ?? new Map<Repository, Push>();
    this.#pushes.set(digest, pushes.set(name, { exists, isAskedByMount, done }));
    try {
      return await done;
    } finally {
      pushes.delete(name);
      if (pushes.size === 0) this.#pushes.delete(digest);
    }
  }

  async #pushIfMissing(node: BlobNode, name: Repository, exists: Promise<boolean>): Promise<Pushed> {
    const { digest, size } = node.descriptor;
    const isHeld = await exists;
    if (isHeld) this.#records.addHolder(digest, name);
    const how = isHeld ? 'existed' : await this.#sendAfterFirst(node, name);
    this.#count(how, size);
    this.options.onEvent?.({ event: 'blob-done', digest, size, how });
    return how;
  }

  /** Sends a blob. If another repository is the first to get it, waits for that: it can be mounted from there. */
  async #sendAfterFirst(node: BlobNode, name: Repository): Promise<Pushed> {
    const { digest } = node.descriptor;
    const findFirst = (): Promise<Pushed> | undefined =>
      this.#isAnywhere(digest) ? undefined : this.#uploading.get(digest);
    for (let first = findFirst(); first !== undefined; first = findFirst())
      await first.catch(() => undefined);
    const isFirst = !this.#isAnywhere(digest);
    const sent = this.#slots.run(async () => {
      checkInterrupted(this.options.signal, 'publish');
      const how = await this.#sendFromAny(node, name);
      this.#records.addHolder(digest, name);
      return how;
    });
    if (!isFirst) return sent;
    this.#uploading.set(digest, sent);
    return sent.finally(() => this.#uploading.delete(digest));
  }

  /** Reports whether any repository is known to hold a blob. */
  #isAnywhere(digest: Digest): boolean {
    return this.#records.holdersOf(digest).length > 0;
  }

  /**
   * Finds a repository to mount a blob from. Repositories that need the blob in this run may hold it from an earlier run. If none
   * does, the caller tries the blob's source repository, which may be in the same registry.
   */
  async #holderOf(digest: Digest, name: Repository): Promise<Repository | undefined> {
    const [known] = this.#records.holdersOf(digest);
    if (known !== undefined) return known;
    for (const [other, { exists }] of this.#pushes.get(digest) ?? [])
      if (other !== name && (await mayMountFrom(exists))) return other;
    return undefined;
  }

  /** Reports whether the registry has a blob that it accepted. If it refuses to show the blob, its acceptance counts. */
  async #isHeld(name: Repository, descriptor: Descriptor): Promise<boolean> {
    try {
      return await this.site.exists(name, descriptor, { signal: this.options.signal });
    } catch (error) {
      if (!isRefusedReading(error)) throw error;
      this.options.onUnread?.(formatRepository(name), error);
      return true;
    }
  }

  /** Sends a blob from its own repository or, if that lost it, from other repositories of the source that have it. */
  async #sendFromAny(node: BlobNode, name: Repository): Promise<Pushed> {
    const { digest } = node.descriptor;
    const { otherRepositories } = this.options;
    let origin: BlobOrigin | undefined;
    return fromAnyRepository(
      node.repository,
      async () => (await otherRepositories?.(digest)) ?? [],
      (repository) => {
        origin = new BlobOrigin(this.source, { ...node, repository }, name, this.options);
        return this.#send(name, origin);
      },
      // Only failures of the source: the destination would refuse the blob of every repository.
      (error) => otherRepositories !== undefined && origin?.isCauseOf(error) === true,
    );
  }

  /** Mounts or uploads a blob and checks at once that it arrived: a registry may report success and not have it. */
  async #send(name: Repository, { node, open }: BlobOrigin): Promise<Pushed> {
    const { descriptor, repository } = node;
    const { signal } = this.options;
    const held = (await this.#holderOf(descriptor.digest, name)) ?? this.options.heldBy?.(descriptor.digest);
    const isAskedByMount = this.#pushes.get(descriptor.digest)?.get(name)?.isAskedByMount === true;
    const mountFrom = held ?? (isAskedByMount ? name : repository);
    const how = await this.site
      .push(name, descriptor, open, { mountFrom, signal })
      .catch(async (error: unknown) => {
        // The content of a mirror was wrong. If another mirror may have the right content, send it once more.
        const isWrong = isAirliftError(error, 'digest-mismatch', 'size-mismatch');
        const isElsewhere = isWrong && (await this.source.distrust?.(repository, descriptor)) === true;
        if (!isElsewhere) throw error;
        return this.site.push(name, descriptor, open, { mountFrom, signal });
      });
    if (await this.#isHeld(name, descriptor))
      return how === 'mounted' && mountFrom === name ? 'existed' : how;
    // docker-registry 2.8 reports a mount of a blob with a sha512 digest and does not have it afterwards.
    if (how === 'mounted') await this.site.push(name, descriptor, open, { signal });
    if (how === 'mounted' && (await this.#isHeld(name, descriptor))) return 'uploaded';
    throw new AirliftError(
      'registry',
      `push blob ${descriptor.digest} to ${formatRepository(name)}: the registry accepted the blob and does not have it`,
    );
  }

  #count(how: Pushed, size: number): void {
    if (how === 'uploaded') {
      this.totals.uploadedBlobs++;
      this.totals.uploadedBytes += size;
    } else if (how === 'mounted') {
      this.totals.mountedBlobs++;
    } else {
      this.totals.existingBlobs++;
      this.totals.existingBytes += size;
    }
  }
}

import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { isRefusedReading, verdictOf } from '../oci/guess.js';
import { readableOf } from '../oci/readable.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import type { OpenContent, Pushed, Target } from '../oci/target.js';
import type { BlobNode } from '../plan/graph.js';
import { isLoss, isOutage } from '../plan/outages.js';
import type { OnEvent } from '../progress.js';
import { whileOpening } from '../transfer/opening.js';
import { fromAnyRepository } from '../transfer/other-repositories.js';
import { Slots } from '../concurrency.js';

/** A registry that content can be pushed to and read back from. */
export type SiteRegistry = Source &
  Target & {
    /** The tags of a repository, where the site can list them. */
    tags?(
      repository: Repository,
      options?: { readonly signal?: AbortSignal | undefined },
    ): AsyncIterable<string>;
  };

export interface BlobOptions {
  /** Blobs on their way at a time. */
  readonly concurrency: number;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Finds the repositories of the source that have a blob; called when its own repository fails to give it. */
  readonly otherRepositories?: ((digest: Digest) => Promise<Iterable<Repository>>) | undefined;
  /** Called where the registry accepted something and refuses to show it. */
  readonly onUnread?: ((name: string, error: unknown) => void) | undefined;
}

/** What became of blobs so far. */
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
      this.source.fetch(this.node.repository, descriptor, { offset, signal: opening }),
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

  /** Reports whether a push failed because this repository did not give the content, or gave wrong content. */
  isCauseOf(error: unknown): boolean {
    if (isAirliftError(error, 'digest-mismatch', 'size-mismatch')) return true;
    return isLoss(this.#failure) || isOutage(this.#failure);
  }
}

/** Puts blobs into the repositories of a site: each is sent once, and mounted wherever else it is needed. */
export class BlobPublisher {
  readonly totals: BlobTotals = {
    uploadedBlobs: 0,
    uploadedBytes: 0,
    mountedBlobs: 0,
    existingBlobs: 0,
    existingBytes: 0,
  };
  readonly #slots: Slots;
  /** The repositories of the site that are known to hold a blob; one as a rule. */
  readonly #holders = new Map<Digest, readonly Repository[]>();
  /** One object for each repository. */
  readonly #repositories = new Map<string, Repository>();
  /** Blobs on their way, by digest: who needs one of them in another repository waits and mounts it. */
  readonly #moving = new Map<Digest, Promise<void>>();
  /** The repositories that need a blob and are not known to hold it. */
  readonly #wanting = new Map<Digest, Set<Repository>>();

  /** Blobs that were counted by `plannedBytes`. */
  readonly #planned = new Set<Digest>();

  constructor(
    private readonly source: Source,
    private readonly site: SiteRegistry,
    private readonly options: BlobOptions,
  ) {
    this.#slots = new Slots(options.concurrency);
  }

  /** The bytes of those blobs that were not counted before. */
  plannedBytes(blobs: readonly BlobNode[]): number {
    let bytes = 0;
    for (const { descriptor } of blobs) {
      if (this.#planned.has(descriptor.digest)) continue;
      this.#planned.add(descriptor.digest);
      bytes += descriptor.size;
    }
    return bytes;
  }

  /**
   * Sees to it that a repository holds blobs.
   * @throws AirliftError `registry` where it took one and does not have it; what source and site throw
   */
  async push(blobs: readonly BlobNode[], name: Repository): Promise<void> {
    const at = this.#repositoryOf(name);
    const results = await Promise.allSettled(blobs.map((node) => this.#pushBlob(node, at)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
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

  async #pushBlob(node: BlobNode, name: Repository): Promise<void> {
    const { digest } = node.descriptor;
    const wanting = this.#wanting.get(digest) ?? new Set();
    this.#wanting.set(digest, wanting.add(name));
    try {
      for (let moving = this.#moving.get(digest); moving !== undefined; moving = this.#moving.get(digest)) {
        await moving.catch(() => undefined);
        checkInterrupted(this.options.signal, 'publish');
      }
      if (this.#holders.get(digest)?.includes(name) === true) return;
      const push = this.#slots.run(() => this.#pushBlobNow(node, name));
      this.#moving.set(digest, push);
      await push.finally(() => this.#moving.delete(digest));
    } finally {
      wanting.delete(name);
      if (wanting.size === 0) this.#wanting.delete(digest);
    }
  }

  async #pushBlobNow(node: BlobNode, name: Repository): Promise<void> {
    checkInterrupted(this.options.signal, 'publish');
    const { descriptor } = node;
    const { digest, size } = descriptor;
    const { onEvent, signal } = this.options;
    const exists = await this.site.exists(name, descriptor, { isGuess: true, signal });
    const how = exists ? 'existed' : await this.#sendFromAny(node, name);
    this.#count(how, size);
    this.#holders.set(digest, [...(this.#holders.get(digest) ?? []), name]);
    onEvent?.({ event: 'blob-done', digest, size, how });
  }

  /**
   * A repository to mount a blob from. An earlier run may have brought it to one that needs it now too. Where none is known, the
   * repository that the blob comes from is asked: it may be of the same registry.
   */
  async #holderOf(descriptor: Descriptor, name: Repository): Promise<Repository | undefined> {
    const { digest } = descriptor;
    const [known] = this.#holders.get(digest) ?? [];
    if (known !== undefined) return known;
    for (const other of this.#wanting.get(digest) ?? [])
      if (other !== name && (await this.#mayMountFrom(other, descriptor))) return other;
    return undefined;
  }

  /** A mount spares an upload, no more: where nobody knows, there is none. */
  async #mayMountFrom(other: Repository, descriptor: Descriptor): Promise<boolean> {
    try {
      const { signal } = this.options;
      return await this.site.exists(other, descriptor, { isGuess: true, signal });
    } catch (error) {
      if (verdictOf(error) === 'fatal') throw error;
      return false;
    }
  }

  /** Whether a blob is there that the registry accepted. Its word counts where it does not let the blob be looked for. */
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
    let origin = new BlobOrigin(this.source, node, name, this.options);
    return fromAnyRepository(
      node.repository,
      async () => (await otherRepositories?.(digest)) ?? [],
      (repository) => {
        origin = new BlobOrigin(this.source, { ...node, repository }, name, this.options);
        return this.#send(name, origin);
      },
      // Only failures of the source: the destination would refuse the blob of every repository.
      (error) => otherRepositories !== undefined && origin.isCauseOf(error),
    );
  }

  /** Mounts or uploads a blob and reads it back at once: a registry may answer with success and not have it. */
  async #send(name: Repository, { node, open }: BlobOrigin): Promise<Pushed> {
    const { descriptor, repository } = node;
    const { signal } = this.options;
    const mountFrom = (await this.#holderOf(descriptor, name)) ?? repository;
    const how = await this.site
      .push(name, descriptor, open, { mountFrom, signal })
      .catch(async (error: unknown) => {
        // The registry refuses wrong content of a mirror. Where another place may have it right, it is sent once more.
        const isWrong = isAirliftError(error, 'digest-mismatch', 'size-mismatch');
        const isElsewhere = isWrong && (await this.source.distrust?.(repository, descriptor)) === true;
        if (!isElsewhere) throw error;
        return this.site.push(name, descriptor, open, { mountFrom, signal });
      });
    if (await this.#isHeld(name, descriptor)) return how;
    // docker-registry 2.8 answers so to a mount of a blob that is named by sha512.
    if (how === 'mounted') await this.site.push(name, descriptor, open, { signal });
    if (how === 'mounted' && (await this.#isHeld(name, descriptor))) return 'uploaded';
    throw new AirliftError(
      'registry',
      `push blob ${descriptor.digest} to ${formatRepository(name)}: the registry took it and does not have it`,
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

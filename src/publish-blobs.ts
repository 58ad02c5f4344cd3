import { Readable } from 'node:stream';
import { AirliftError } from './errors.js';
import type { Digest } from './oci/digest.js';
import { formatRepository, type Repository } from './oci/reference.js';
import type { Source } from './oci/source.js';
import type { OpenContent, Pushed, Target } from './oci/target.js';
import type { BlobNode } from './graph.js';
import type { OnEvent } from './progress.js';
import { Slots } from './slots.js';

/** A registry that content can be pushed to and read back from. */
export type Site = Source & Target;

export interface BlobOptions {
  /** Blobs on their way at a time. */
  readonly concurrency: number;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Content in memory, from `offset` on. */
export function readableOf(bytes: Buffer, offset: number): Readable {
  return Readable.from(offset < bytes.length ? [bytes.subarray(offset)] : [], { objectMode: false });
}

/** What became of blobs so far. */
export interface BlobTotals {
  uploadedBlobs: number;
  uploadedBytes: number;
  mountedBlobs: number;
  existingBlobs: number;
  existingBytes: number;
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
  /** A repository of the site that is known to hold the blob. */
  readonly #holders = new Map<Digest, Repository>();
  /** Blobs on their way, by digest: who needs one of them in another repository waits and mounts it. */
  readonly #moving = new Map<Digest, Promise<void>>();
  readonly #settled = new Map<string, Promise<void>>();

  constructor(
    private readonly source: Source,
    private readonly site: Site,
    private readonly options: BlobOptions,
  ) {
    this.#slots = new Slots(options.concurrency);
  }

  /**
   * Sees to it that a repository holds blobs.
   * @throws AirliftError `registry` where it took one and does not have it; what source and site throw
   */
  async push(blobs: readonly BlobNode[], name: Repository): Promise<void> {
    const results = await Promise.allSettled(blobs.map((node) => this.#settle(node, name)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Sees to it once that the repository holds the blob. */
  async #settle(node: BlobNode, name: Repository): Promise<void> {
    const { digest } = node.descriptor;
    const key = `${formatRepository(name)}@${digest}`;
    let settled = this.#settled.get(key);
    if (settled === undefined) {
      settled = this.#pushBlob(node, name);
      this.#settled.set(key, settled);
      settled.catch(() => this.#settled.delete(key));
    }
    await settled;
  }

  async #pushBlob(node: BlobNode, name: Repository): Promise<void> {
    const { digest } = node.descriptor;
    for (let moving = this.#moving.get(digest); moving !== undefined; moving = this.#moving.get(digest)) {
      await moving.catch(() => undefined);
    }
    const push = this.#slots.run(() => this.#pushBlobNow(node, name));
    this.#moving.set(digest, push);
    try {
      await push;
    } finally {
      this.#moving.delete(digest);
    }
  }

  async #pushBlobNow(node: BlobNode, name: Repository): Promise<void> {
    this.options.signal?.throwIfAborted();
    const { descriptor } = node;
    const { digest, size } = descriptor;
    const { onEvent, signal } = this.options;
    const exists = await this.site.exists(name, descriptor);
    const open: OpenContent = async (offset) => {
      if (node.bytes !== undefined) return readableOf(node.bytes, offset);
      const stream = await this.source.fetch(node.repository, descriptor, { offset, signal });
      let bytes = offset;
      stream.on('data', (chunk: Buffer) =>
        onEvent?.({ event: 'blob', digest, size, bytes: (bytes += chunk.byteLength) }),
      );
      stream.pause();
      return stream;
    };
    const how = exists ? 'existed' : await this.#send(name, node, open);
    this.#count(how, size);
    this.#holders.set(digest, { registry: name.registry, repository: name.repository });
    onEvent?.({ event: 'blob-done', digest, size, how });
  }

  /** Mounts or uploads a blob and reads it back at once: a registry may answer with success and not have it. */
  async #send(name: Repository, { descriptor, repository }: BlobNode, open: OpenContent): Promise<Pushed> {
    const { signal } = this.options;
    // The repository that the blob comes from may be of the same registry.
    const mountFrom = this.#holders.get(descriptor.digest) ?? repository;
    const how = await this.site.push(name, descriptor, open, { mountFrom, signal });
    if (await this.site.exists(name, descriptor)) return how;
    // docker-registry 2.8 answers so to a mount of a blob that is named by sha512.
    if (how === 'mounted') await this.site.push(name, descriptor, open, { signal });
    if (how === 'mounted' && (await this.site.exists(name, descriptor))) return 'uploaded';
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

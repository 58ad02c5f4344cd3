import { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from './errors.js';
import { digestOf, type Digest } from './oci/digest.js';
import { readContent } from './oci/read.js';
import { formatReference, formatRepository, type Reference, type Repository } from './oci/reference.js';
import type { Image, Source } from './oci/source.js';
import type { OpenContent, Pushed, Target } from './oci/target.js';
import { isForeignLayer } from './oci/media-types.js';
import { Planner, type BlobNode, type ManifestNode } from './plan.js';
import type { OnEvent } from './progress.js';
import { Slots } from './slots.js';

/** A registry that content can be pushed to and read back from. */
export type Site = Source & Target;

export interface PublishOptions {
  /** Blobs on their way at a time. */
  readonly concurrency: number;
  /** What happens when the tag is there already and points elsewhere. */
  readonly onExistingTag: 'overwrite' | 'skip' | 'error';
  /**
   * Which index a filtered image is published as: `auto` tags the filtered one and keeps the original by digest where the site
   * takes it, `original` tags the original, and fails where the site does not take it.
   */
  readonly originalIndex: 'auto' | 'filtered' | 'original';
  /** Whether the source has the content of a foreign layer; all of it unless told. */
  readonly hasForeign?: ((digest: Digest) => boolean) | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What publishing has moved so far. */
export interface PublishTotals {
  images: number;
  skippedImages: number;
  uploadedBlobs: number;
  uploadedBytes: number;
  mountedBlobs: number;
  existingBlobs: number;
  existingBytes: number;
  manifests: number;
}

/** What became of one image. */
export interface Published {
  readonly reference: Reference;
  readonly digest: Digest;
  readonly outcome: 'published' | 'unchanged' | 'skipped';
  /** The publisher's index digest that the site could not take, where there was one. */
  readonly lostPin?: Digest | undefined;
}

/** The graph of one image, children before parents. */
interface ImagePlan {
  readonly blobs: BlobNode[];
  readonly manifests: ManifestNode[];
}

function openBytes(bytes: Buffer): OpenContent {
  return (offset) => Promise.resolve(Readable.from([bytes.subarray(offset)], { objectMode: false }));
}

/**
 * Publishes images to a site: blobs first, each once, mounted where another repository has them; then manifests by digest,
 * children first; then the tag; then it is read back. A tag never points at half an image.
 */
export class Publisher {
  readonly totals: PublishTotals = {
    images: 0,
    skippedImages: 0,
    uploadedBlobs: 0,
    uploadedBytes: 0,
    mountedBlobs: 0,
    existingBlobs: 0,
    existingBytes: 0,
    manifests: 0,
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
    private readonly options: PublishOptions,
  ) {
    this.#slots = new Slots(options.concurrency);
  }

  /**
   * Publishes one image under `name`.
   * @throws AirliftError `exists` where the tag is taken and `onExistingTag` is `error`; what source and site throw
   */
  async publish(image: Image, name: Reference): Promise<Published> {
    const isOriginal = this.options.originalIndex === 'original' && image.original !== undefined;
    const tagged = (isOriginal ? image.original : undefined) ?? image.root;
    const before = await this.#currentDigest(name);
    if (before !== undefined && before !== tagged.digest) {
      if (this.options.onExistingTag === 'skip') {
        this.totals.skippedImages++;
        return { reference: name, digest: before, outcome: 'skipped' };
      }
      if (this.options.onExistingTag === 'error') {
        throw new AirliftError(
          'exists',
          `publish ${formatReference(name)}: tag is taken; got ${before}, want ${tagged.digest}`,
          {
            hint: '--on-existing-tag overwrite replaces it, skip keeps it',
          },
        );
      }
    }
    const plan = await this.#plan(image);
    await this.#pushBlobs(plan.blobs, name);
    let lostPin: Digest | undefined;
    for (const node of plan.manifests) {
      if (node.descriptor.digest === image.original?.digest) {
        if (!(await this.#pushOriginal(node, name))) lostPin = node.descriptor.digest;
      } else if (!isOriginal || node.descriptor.digest !== image.root.digest) {
        await this.#pushManifest(node, name);
      }
    }
    const root = plan.manifests.find((node) => node.descriptor.digest === tagged.digest);
    if (root === undefined)
      throw new AirliftError(
        'damaged',
        `publish ${formatReference(name)}: root manifest ${tagged.digest} is not there`,
      );
    if (name.tag !== undefined && before !== tagged.digest)
      await this.site.tag(name, root.descriptor, openBytes(root.bytes));
    await this.#readBack(name, root);
    this.totals.images++;
    return {
      reference: name,
      digest: tagged.digest,
      outcome: before === tagged.digest ? 'unchanged' : 'published',
      lostPin,
    };
  }

  async #currentDigest(name: Reference): Promise<Digest | undefined> {
    if (name.tag === undefined) return undefined;
    try {
      const tagOnly = { registry: name.registry, repository: name.repository, tag: name.tag };
      return (await this.site.resolve(tagOnly, { signal: this.options.signal })).digest;
    } catch (error) {
      if (isAirliftError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  async #plan(image: Image): Promise<ImagePlan> {
    const plan: ImagePlan = { blobs: [], manifests: [] };
    const seen = new Set<Digest>();
    const { signal, hasForeign } = this.options;
    const sink = {
      has: (digest: Digest) => seen.has(digest),
      blob: (node: BlobNode) => {
        if (isForeignLayer(node.descriptor.mediaType) && hasForeign?.(node.descriptor.digest) === false)
          return;
        seen.add(node.descriptor.digest);
        plan.blobs.push(node);
      },
      manifest: (node: ManifestNode) => {
        seen.add(node.descriptor.digest);
        plan.manifests.push(node);
      },
    };
    await new Planner(this.source, sink, { referrers: true, signal }).planImage(image);
    return plan;
  }

  async #pushBlobs(blobs: readonly BlobNode[], name: Repository): Promise<void> {
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
    // Where registries are the source too, the repository that the blob comes from may be of the same registry.
    const origin = this.source === this.site ? repository : undefined;
    const mountFrom = this.#holders.get(descriptor.digest) ?? origin;
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

  async #pushManifest(node: ManifestNode, name: Repository): Promise<void> {
    if (await this.site.exists(name, node.descriptor)) return;
    const pushed = await this.site.push(name, node.descriptor, openBytes(node.bytes), {
      signal: this.options.signal,
    });
    if (pushed !== 'existed') this.totals.manifests++;
  }

  /** Pushes the publisher's index, whose other children are not carried; not every registry takes that. */
  async #pushOriginal(node: ManifestNode, name: Repository): Promise<boolean> {
    if (this.options.originalIndex === 'filtered') return true;
    try {
      await this.#pushManifest(node, name);
      return true;
    } catch (error) {
      if (!isAirliftError(error, 'registry', 'not-found') || (error.status ?? 500) >= 500) throw error;
      if (this.options.originalIndex === 'auto') return false;
      throw new AirliftError(
        'registry',
        `publish ${formatRepository(name)}: ${name.registry} takes no index whose other platforms are missing`,
        { cause: error, status: error.status, hint: '--index filtered publishes an index of what is there' },
      );
    }
  }

  /** Compares what the site now gives for the name with what was carried. */
  async #readBack(name: Reference, root: ManifestNode): Promise<void> {
    const { signal } = this.options;
    const want = root.descriptor.digest;
    const got = await this.site.resolve(
      name.tag === undefined ? { ...name, digest: want } : { ...name, digest: undefined },
      { signal },
    );
    if (got.digest !== want) {
      throw new AirliftError(
        'digest-mismatch',
        `read back ${formatReference(name)}: digest mismatch; got ${got.digest}, want ${want}`,
        {
          hint: 'something else pushed to this tag at the same time; import again',
        },
      );
    }
    const bytes = await readContent(this.site, name, root.descriptor, { signal });
    if (digestOf(bytes) !== digestOf(root.bytes))
      throw new AirliftError('digest-mismatch', `read back ${formatReference(name)}: bytes differ`);
  }
}

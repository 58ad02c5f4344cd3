import type { Readable } from 'node:stream';
import { InFlight } from './in-flight.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { maxManifestSize } from '../oci/manifest.js';
import { isImageConfig, isManifest } from '../oci/media-types.js';
import { readContent, type LoadedManifest } from '../oci/read.js';
import { readableOf } from '../oci/readable.js';
import type { Reference, Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';

/** Bytes of manifests and configs to keep: enough for a few thousand images. */
const defaultLimit = 64 * 1024 * 1024;

function isSmallContent({ mediaType, size }: Descriptor): boolean {
  return (isManifest(mediaType) || isImageConfig(mediaType)) && size <= maxManifestSize;
}

/**
 * A source that caches manifests and configs in bounded memory, so that each is fetched once although several steps read it. It
 * also serves manifests that airlift wrote itself, such as filtered indexes, as if the source had them.
 */
export class ManifestCache implements Source {
  /** Cached content, least recently used first. */
  readonly #kept = new Map<Digest, Buffer>();
  readonly #reads = new InFlight<Buffer>();
  /** Manifests that only this object has, with the number of images that need them. */
  readonly #written = new Map<Digest, { readonly bytes: Buffer; holders: number }>();
  #size = 0;

  constructor(
    private readonly source: Source,
    private readonly limit = defaultLimit,
  ) {}

  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor> {
    return this.source.resolve(reference, options);
  }

  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor> {
    return this.source.referrers(repository, digest, options);
  }

  async distrust(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    return (await this.source.distrust?.(repository, descriptor)) === true;
  }

  async fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const { digest } = descriptor;
    const written = this.#written.get(digest)?.bytes;
    if (written === undefined && !isSmallContent(descriptor))
      return this.source.fetch(repository, descriptor, options);
    const bytes = written ?? (await this.#read(repository, descriptor, options.signal));
    return readableOf(bytes, options.offset);
  }

  /**
   * Serves manifests that the source does not have.
   * @returns a function that releases them
   */
  hold(manifests: readonly LoadedManifest[]): () => void {
    const digests = manifests.map(({ descriptor: { digest }, bytes }) => {
      const held = this.#written.get(digest);
      if (held === undefined) this.#written.set(digest, { bytes, holders: 1 });
      else held.holders++;
      return digest;
    });
    return () => {
      for (const digest of digests) {
        const held = this.#written.get(digest);
        if (held !== undefined && --held.holders === 0) this.#written.delete(digest);
      }
    };
  }

  async #read(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { digest } = descriptor;
    const kept = this.#kept.get(digest);
    if (kept !== undefined) {
      this.#kept.delete(digest);
      this.#kept.set(digest, kept);
      return kept;
    }
    return this.#reads.share(digest, repository, async () =>
      this.#keep(digest, await readContent(this.source, repository, descriptor, { signal })),
    );
  }

  #keep(digest: Digest, bytes: Buffer): Buffer {
    if (this.#kept.has(digest)) return bytes;
    this.#kept.set(digest, bytes);
    this.#size += bytes.length;
    for (const [oldest, { length }] of this.#kept) {
      if (this.#size <= this.limit) break;
      this.#kept.delete(oldest);
      this.#size -= length;
    }
    return bytes;
  }
}

import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { ioError } from '../bundle/format/io-error.js';
import { HeadDigests } from '../bundle/format/sums.js';
import type { BundleReader } from '../bundle/reader.js';
import { forEachOf } from '../concurrency.js';
import { AirliftError, firstLines, maxProblemsShown } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { formatRepository, parseReference, type Repository } from '../oci/reference.js';
import { changedSource, type FetchOptions, type Source } from '../oci/source.js';
import { otherParts } from '../bundle/format/part.js';
import type { BaseBlob } from '../bundle/format/delta.js';
import type { SiteRegistry } from '../publish/blob-publisher.js';
import { openSources, type FileSource, type FoundBlob } from '../repair/sources.js';
import { writeRequest } from '../request/request.js';
import { siteRepository, siteText, type Site } from '../site/names.js';

/** Blobs that are looked for at a time. */
const concurrency = 8;
/** The most images of a blob whose repositories are asked, and which an error or a request names. */
const maxImages = 8;

/** A blob that neither the registry nor a base bundle has. */
interface MissingBlob extends BaseBlob {
  /** References of images that need it. */
  readonly images: readonly string[];
}

export interface ProofOptions {
  readonly to: Site;
  /** Bundles and repair files that have blobs which the delta leaves out. */
  readonly base: readonly string[];
  /** Path of a file to write a request for what is missing to. */
  readonly request?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Writes a request for the layers that a delta leaves out and that are missing. */
async function writeMissing(
  path: string,
  { path: bundle, file, head }: BundleReader,
  missing: readonly MissingBlob[],
): Promise<void> {
  const sums = await new HeadDigests(file, head).ofSums();
  const blobs = missing.map((blob) => ({ ...blob, images: blob.images.map(parseReference) }));
  try {
    await writeRequest(path, { bundle: basename(bundle), sums, head: false }, blobs);
  } catch (cause) {
    throw ioError(`write request ${path}`, cause);
  }
}

/** Streams a blob of a file from an offset on. */
function streamOf({ file, position }: FoundBlob, { size }: Descriptor, options: FetchOptions = {}): Readable {
  const offset = Math.min(options.offset ?? 0, size);
  return file.stream(position + offset, size - offset, options);
}

/** Where the blobs are that a delta leaves out. */
export class ProvenBase {
  readonly #holders = new Map<Digest, Repository>();
  readonly #found = new Map<Digest, FoundBlob>();
  readonly #names = new Map<string, Repository>();

  private constructor(
    private readonly delta: BundleReader,
    private readonly site: SiteRegistry,
    private readonly bundles: readonly FileSource[],
    private readonly to: Site,
  ) {}

  /**
   * Proves that every blob which a delta leaves out is in the registry, in a repository that needs it or that the base had it in, or in a
   * base bundle. Nothing is pushed. Close the result after use.
   * @throws AirliftError `not-found` with what is missing; what opening the bundles and the registry throw
   */
  static async find(delta: BundleReader, site: SiteRegistry, options: ProofOptions): Promise<ProvenBase> {
    const bundles = await openSources(options.base);
    try {
      const proven = new ProvenBase(delta, site, bundles, options.to);
      await proven.#findAll(options);
      return proven;
    } catch (error) {
      for (const bundle of bundles) await bundle.close();
      throw error;
    }
  }

  async #findAll(options: ProofOptions): Promise<void> {
    const { request, to, signal } = options;
    const missing: MissingBlob[] = [];
    let total = 0;
    await forEachOf(this.delta.catalog.baseBlobs(), concurrency, async (blob) => {
      total++;
      const images = this.delta.catalog.imagesWith(blob.digest, maxImages);
      const holder = await this.#holderOf(blob, images, signal);
      if (holder !== undefined) this.#holders.set(blob.digest, holder);
      else if (!(await this.#findInBundles(blob, signal))) missing.push({ ...blob, images });
    });
    if (missing.length === 0) return;
    missing.sort((a, b) => (a.digest < b.digest ? -1 : 1));
    if (request !== undefined) await writeMissing(request, this.delta, missing);
    throw new AirliftError(
      'not-found',
      `import ${this.delta.path}: ${missing.length} of ${total} layers that it leaves out are missing in ${siteText(to)}; nothing was pushed`,
      {
        lines: firstLines(
          missing.map(
            ({ digest, size, images }) => `missing: ${digest} (${size} bytes) of ${images[0] ?? 'an image'}`,
          ),
          maxProblemsShown,
        ),
        hint:
          this.#earlierParts() ??
          (request === undefined
            ? 'give a bundle that has them with `base`, or write them to a file with `request`'
            : `take ${request} to where export runs: airlift export --request ${request} -o repair.tar`),
      },
    );
  }

  /** Says which parts of its set to import first; undefined if the delta is no part of a set. */
  #earlierParts(): string | undefined {
    const { part } = this.delta.catalog;
    if (part === undefined || part.needs.length === 0) return undefined;
    const { number, count, needs } = part;
    const names = otherParts(this.delta.path, needs) ?? needs.map((need) => `part ${need}`);
    return `it is part ${number} of ${count}: import ${names.join(' and ')} first, then this part again`;
  }

  /** Finds a repository at the site that holds a blob. */
  async #holderOf(
    { digest, size }: BaseBlob,
    images: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Repository | undefined> {
    const descriptor = { mediaType: 'application/octet-stream', digest, size };
    const needing = images.map((text) => siteRepository(this.to, parseReference(text)));
    const places = this.delta.catalog
      .placesOf(digest)
      .map(({ kind, repository }) =>
        kind === 'site'
          ? { registry: this.to.registry, repository }
          : siteRepository(this.to, parseReference(`${repository}:any`)),
      );
    const candidates = new Map([...needing, ...places].map((name) => [formatRepository(name), name]));
    for (const [key, { registry, repository }] of candidates) {
      if (!(await this.site.exists({ registry, repository }, descriptor, { isGuess: true, signal })))
        continue;
      const name = this.#names.get(key) ?? { registry, repository };
      this.#names.set(key, name);
      return name;
    }
    return undefined;
  }

  /** Finds a blob in the given bundles; the search hashes it. */
  async #findInBundles(blob: BaseBlob, signal: AbortSignal | undefined): Promise<boolean> {
    for (const bundle of this.bundles) {
      const found = await bundle.find(blob, signal);
      if (found === undefined) continue;
      this.#found.set(blob.digest, found);
      return true;
    }
    return false;
  }

  /** Returns a repository at the site that holds a left-out blob; undefined if a bundle has it. */
  holderOf(digest: Digest): Repository | undefined {
    return this.#holders.get(digest);
  }

  /** Whether a layer that the delta leaves out is proven. */
  has(digest: Digest): boolean {
    return this.delta.catalog.blob(digest)?.leftOut === 'base';
  }

  /** Returns the delta with the content that it leaves out: from a bundle, or from the repository that holds it. */
  get source(): Source {
    return changedSource(this.delta, {
      fetch: async (repository, descriptor, options) => {
        const found = this.#found.get(descriptor.digest);
        if (found !== undefined) return streamOf(found, descriptor, options);
        const holder = this.#holders.get(descriptor.digest);
        if (holder !== undefined) return this.site.fetch(holder, descriptor, options);
        return this.delta.fetch(repository, descriptor, options);
      },
    });
  }

  async close(): Promise<void> {
    for (const bundle of this.bundles) await bundle.close();
  }
}

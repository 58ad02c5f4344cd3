import type { Readable } from 'node:stream';
import type { BaseBlob } from '../bundle/format/delta.js';
import type { BundleImage } from '../bundle/format/catalog.js';
import { HeadDigests } from '../bundle/format/sums.js';
import { volumeNumberOf } from '../bundle/format/volumes/find.js';
import type { BundleReader } from '../bundle/reader.js';
import { openChecked, orDamage } from '../bundle/verify/check-front.js';
import { requiredSignature } from '../bundle/verify/check-signatures.js';
import { AirliftError, checkInterrupted, firstLines, isAirliftError, maxProblemsShown } from '../errors.js';
import type { ByteRange } from '../io/byte-range.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { formatReference, parseReference, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions } from '../oci/source.js';
import type { OnEvent } from '../progress.js';
import type { ContentSource } from './merge-archives.js';

/** Which image to take if two bundles use one name for different images: none (`error`), or that of the later or the earlier bundle. */
export type OnSameName = 'error' | 'overwrite' | 'skip';

export interface BundleSetOptions {
  /** Directories that hold volumes of the bundles, besides those of their paths. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Path of a public key, or of a directory of them: accept only bundles that one of them has signed. */
  readonly requireSignature?: string | undefined;
  /** What to do if two bundles use one name for different images (default: `error`). */
  readonly onExistingTag?: OnSameName | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A layer that a delta leaves out and that no bundle of the set has. */
export interface ExpectedBlob extends BaseBlob {
  /** The first delta that leaves it out. */
  readonly delta: BundleReader;
}

/** Returns paths of bundles, each once: volumes of one bundle in one directory, as `site.tar.0*` names them in a shell, count as one. */
function bundlesOf(paths: readonly string[]): string[] {
  return [...new Map(paths.map((path) => [volumeNumberOf(path)?.bundle ?? path, path])).values()];
}

/** Says what to do with an archive, which is no bundle. */
function addHint(error: unknown): never {
  if (!isAirliftError(error, 'input') || error.hint !== undefined) throw error;
  throw new AirliftError('input', error.message, {
    cause: error,
    hint: 'merge takes bundles; make one of archives first: airlift import ARCHIVE -o site.tar',
  });
}

/** Returns the digest that pins of an image name: that of the publisher's index, if the image is a filtered copy of it. */
function pinOf({ root, original }: BundleImage): Digest {
  return original?.digest ?? root.digest;
}

/** The most images of a signed manifest to look at. With more of them, its signatures are kept. */
const maxSigned = 1000;

/** Several open bundles, deltas among them, read as one. */
export class BundleSet implements ContentSource {
  /** How many bundles with a blob have sent wrong content for it. */
  readonly #distrusted = new Map<Digest, number>();

  private constructor(
    readonly readers: readonly BundleReader[],
    private readonly options: BundleSetOptions,
  ) {}

  /**
   * Opens bundles and checks their heads and manifests. Close the set after use.
   * @throws AirliftError as `openChecked`; `input` for files that are no bundles
   */
  static async open(paths: readonly string[], options: BundleSetOptions): Promise<BundleSet> {
    const { volumeDirs = [], onEvent, signal } = options;
    const requireSignature = await requiredSignature(options.requireSignature);
    const readers: BundleReader[] = [];
    try {
      for (const path of bundlesOf(paths)) {
        onEvent?.({ event: 'reading', file: path });
        readers.push(await openChecked({ path, volumeDirs }, { signal, requireSignature }).catch(addHint));
      }
      return new BundleSet(readers, options);
    } catch (error) {
      for (const reader of readers) await reader.close();
      throw error;
    }
  }

  /**
   * Yields the images of all bundles, each name once.
   * @throws AirliftError `conflict` as `checkNames`
   */
  *images(): Iterable<BundleImage> {
    for (const [at, reader] of this.readers.entries()) {
      for (const { reference } of reader.images()) {
        if (this.#imagesNamed(reference, at).length > 0) continue;
        const image = this.#chosen(this.#imagesNamed(reference));
        if (!this.#isOrphan(image)) yield image;
      }
    }
  }

  /**
   * Counts the images, and checks that no name has two of them.
   * @throws AirliftError `conflict` with the names, and the digests in both bundles, unless `onExistingTag` chooses
   */
  checkNames(): number {
    const { onExistingTag = 'error', signal } = this.options;
    const lines: string[] = [];
    let conflicts = 0;
    let images = 0;
    for (const [at, reader] of this.readers.entries()) {
      checkInterrupted(signal, 'merge');
      for (const image of reader.images()) {
        const [first] = this.#imagesNamed(image.reference, at);
        if (first === undefined) images++;
        else if (pinOf(first.image) !== pinOf(image) && onExistingTag === 'error') {
          conflicts++;
          if (lines.length < maxProblemsShown)
            lines.push(
              `${formatReference(image.reference)}: ${pinOf(first.image)} in ${first.reader.path}, ${pinOf(image)} in ${reader.path}`,
            );
        }
      }
    }
    if (conflicts === 0) return images;
    throw new AirliftError(
      'conflict',
      `merge ${this.paths}: ${conflicts === 1 ? 'one name has' : `${conflicts} names have`} different images in two bundles`,
      {
        lines: firstLines(lines, maxProblemsShown, conflicts),
        hint: "`onExistingTag: 'overwrite'` takes the image of the bundle that is named later, `onExistingTag: 'skip'` the earlier one",
      },
    );
  }

  /** Names the bundles in messages. */
  get paths(): string {
    const [first = '', ...others] = this.readers.map(({ path }) => path);
    return others.length > 2 ? `${first} and ${others.length} more` : [first, ...others].join(', ');
  }

  /** Returns the digest of each bundle's `SHA256SUMS`, which identifies its whole content. */
  async sums(): Promise<Digest[]> {
    const digests = this.readers.map(({ file, head }) => new HeadDigests(file, head).ofSums());
    return (await Promise.all(digests)).filter((digest) => digest !== undefined);
  }

  /** Finds the images of a name in the first `end` bundles, in their order. */
  #imagesNamed(
    reference: Reference,
    end = this.readers.length,
  ): { readonly reader: BundleReader; readonly image: BundleImage }[] {
    const found = this.readers
      .slice(0, end)
      .map((reader) => ({ reader, image: reader.catalog.image(reference) }));
    return found.flatMap(({ reader, image }) => (image === undefined ? [] : [{ reader, image }]));
  }

  /** Chooses one of the images that share a name. */
  #chosen(found: readonly { readonly image: BundleImage }[]): BundleImage {
    const images = found.map(({ image }) => image);
    const pins = new Set(images.map(pinOf));
    const { onExistingTag = 'error' } = this.options;
    const chosen = onExistingTag === 'overwrite' ? images.at(-1) : images[0];
    if (chosen === undefined || (onExistingTag === 'error' && pins.size > 1))
      throw new AirliftError('conflict', `merge ${this.paths}: different images of one name`);
    // A signature that one list names stays, whatever becomes of the image that it signs.
    return {
      ...chosen,
      companionOf: images.some(({ companionOf }) => companionOf === undefined)
        ? undefined
        : chosen.companionOf,
    };
  }

  /** Reports whether an image is a signature of images that are not taken, because other bundles have their names. */
  #isOrphan({ companionOf }: BundleImage): boolean {
    if (companionOf === undefined || (this.options.onExistingTag ?? 'error') === 'error') return false;
    let named = 0;
    for (const { catalog } of this.readers) {
      for (const name of catalog.imagesWith(companionOf, maxSigned)) {
        const reference = parseReference(name);
        const own = catalog.image(reference);
        if (own !== undefined && pinOf(this.#chosen(this.#imagesNamed(reference))) === pinOf(own))
          return false;
        if (++named === maxSigned) return false;
      }
    }
    return named > 0;
  }

  /** Yields the layers that deltas leave out and that no bundle has, each once. */
  *expected(): Iterable<ExpectedBlob> {
    for (const [at, delta] of this.readers.entries()) {
      const earlier = this.readers.slice(0, at);
      for (const blob of delta.catalog.baseBlobs()) {
        const isCounted = earlier.some(({ catalog }) => catalog.blob(blob.digest)?.leftOut === 'base');
        if (!isCounted && !this.has(blob.digest)) yield { ...blob, delta };
      }
    }
  }

  /** Reports whether a bundle has a blob. */
  has(digest: Digest): boolean {
    return this.#holdersOf(digest).length > 0;
  }

  #holdersOf(digest: Digest): BundleReader[] {
    return this.readers.filter((reader) => reader.position(digest) !== undefined);
  }

  async resolve(reference: Reference): Promise<Descriptor> {
    const [first] = this.#imagesNamed(reference);
    const { digest } = reference;
    const named =
      digest === undefined ? undefined : this.readers.find(({ catalog }) => catalog.manifest(digest));
    const reader = first?.reader ?? named;
    if (reader !== undefined) return reader.resolve(reference);
    throw new AirliftError('not-found', `resolve ${formatReference(reference)}: not in ${this.paths}`);
  }

  /** Opens a blob in the first bundle that has it and that has not sent wrong content for it. */
  async fetch(repository: Repository, descriptor: Descriptor, options?: FetchOptions): Promise<Readable> {
    const { digest } = descriptor;
    const reader = this.#holdersOf(digest)[this.#distrusted.get(digest) ?? 0];
    if (reader !== undefined) return reader.fetch(repository, descriptor, options);
    throw new AirliftError('not-found', `read ${digest}: not in ${this.paths}`);
  }

  /** Switches to another bundle for a blob that is damaged in the one that was read last. */
  distrust(_repository: Repository, { digest }: Descriptor): Promise<boolean> {
    const tried = this.#distrusted.get(digest) ?? 0;
    const [damaged, next] = this.#holdersOf(digest).slice(tried);
    if (damaged === undefined || next === undefined) return Promise.resolve(false);
    this.#distrusted.set(digest, tried + 1);
    const message = `${damaged.path} is damaged: wrong content for ${digest}; reading it from ${next.path}`;
    this.options.onEvent?.({ event: 'warning', message });
    return Promise.resolve(true);
  }

  async find(descriptor: Descriptor): Promise<ByteRange | undefined> {
    return this.#holdersOf(descriptor.digest)[0]?.find(descriptor);
  }

  async *referrers(repository: Repository, digest: Digest): AsyncGenerator<Descriptor> {
    const given = new Set<Digest>();
    for (const reader of this.readers) {
      for await (const referrer of reader.referrers(repository, digest)) {
        if (given.has(referrer.digest)) continue;
        given.add(referrer.digest);
        yield referrer;
      }
    }
  }

  /** Returns the error to report instead of one that damage of a bundle has caused. */
  async explain(error: unknown): Promise<unknown> {
    for (const reader of this.readers) {
      const found = await orDamage(reader, error);
      if (found !== error) return found;
    }
    return error;
  }

  async close(): Promise<void> {
    for (const reader of this.readers) await reader.close();
  }
}

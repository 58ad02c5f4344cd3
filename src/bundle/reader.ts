import type { Readable } from 'node:stream';
import { AirliftError, checkInterrupted, messageOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest, Verifier, type Digest } from '../oci/digest.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import { Catalog, type BundleBlob, type BundleCounts, type BundleImage } from './format/catalog.js';
import { BundleFile } from './format/file.js';
import { damagedHint, readHead, type Head } from './format/head.js';
import { endLength } from '../tar/header.js';

/** @throws AirliftError `damaged` where anything but the two blocks of zeros stands behind the last blob */
async function refuseTail(file: BundleFile, size: number, want: number): Promise<void> {
  const end = await file.read(want - endLength, endLength);
  const happened =
    size > want
      ? `bytes behind its end; got ${size} bytes, want ${want}`
      : end.every((byte) => byte === 0)
        ? undefined
        : 'the blocks that end it are not zeros';
  if (happened !== undefined)
    throw new AirliftError('damaged', `open ${file.path}: ${happened}`, { hint: damagedHint });
}

/** Reads a bundle by its catalog. What `fetch` gives is to be checked by whoever reads it, as from any Source. */
export class BundleReader implements Source {
  private constructor(
    readonly file: BundleFile,
    readonly head: Head,
    readonly catalog: Catalog,
    /** Bytes of the file. */
    readonly size: number,
  ) {}

  /**
   * Opens a bundle. Only the head of the file is read; its catalog is checked in full.
   * @throws AirliftError `input` where it is no bundle, `damaged` where its head is damaged or the file cut off,
   * `unsupported` where a newer airlift wrote it, `io`
   * @param name what messages call it, where its path says nothing to the user
   */
  static async open(path: string, name?: string): Promise<BundleReader> {
    const file = await BundleFile.open(path, 'r', name);
    let catalog: Catalog | undefined;
    try {
      const head = await readHead(file);
      catalog = await Catalog.open(file, head);
      const { size } = await file.stat();
      const want = head.start + catalog.blobsLength + endLength;
      if (size < want) {
        throw new AirliftError('damaged', `open ${file.path}: cut off; got ${size} bytes, want ${want}`, {
          hint: damagedHint,
        });
      }
      await refuseTail(file, size, want);
      return new BundleReader(file, head, catalog, size);
    } catch (error) {
      catalog?.close();
      await file.close();
      throw error;
    }
  }

  get path(): string {
    return this.file.path;
  }

  get created(): Date {
    return this.catalog.created;
  }

  counts(): BundleCounts {
    return this.catalog.counts();
  }

  /** The images, sorted by reference. */
  images(): Iterable<BundleImage> {
    return this.catalog.images();
  }

  /** All blobs in the order of the file. */
  blobs(): Iterable<BundleBlob> {
    return this.catalog.blobs();
  }

  /** Byte of the file at which a blob's content begins, where the bundle carries it. */
  position(digest: Digest): number | undefined {
    const offset = this.catalog.blob(digest)?.offset;
    return offset === undefined ? undefined : this.head.start + offset;
  }

  async resolve(reference: Reference): Promise<Descriptor> {
    const image = this.catalog.image(reference);
    const root =
      image?.root ?? (reference.digest === undefined ? undefined : this.catalog.manifest(reference.digest));
    if (root !== undefined) return root;
    throw new AirliftError('not-found', `resolve ${formatReference(reference)}: not in ${this.path}`, {
      hint: `airlift inspect ${this.path} lists the images`,
    });
  }

  async fetch(
    _repository: Repository,
    descriptor: Descriptor,
    options: FetchOptions = {},
  ): Promise<Readable> {
    // A stream that is aborted from the start fails before anybody listens to it.
    checkInterrupted(options.signal, 'read bundle');
    const { position, size } = this.#place(descriptor.digest);
    const offset = Math.min(options.offset ?? 0, size);
    return this.file.stream(position + offset, size - offset, options);
  }

  /**
   * The bytes of a manifest, index or other small blob, checked.
   * @throws AirliftError `not-found`, `digest-mismatch`, `unsupported` where it is larger than a manifest may be
   */
  async read(digest: Digest): Promise<Buffer> {
    const { position, size } = this.#place(digest);
    if (size > maxManifestSize) {
      throw new AirliftError(
        'unsupported',
        `read blob ${digest}: too large to hold; got ${size} bytes, want at most ${maxManifestSize}`,
      );
    }
    const bytes = await this.file.read(position, size);
    const got = digestOf(bytes, algorithmOf(digest));
    if (got === digest) return bytes;
    throw new AirliftError(
      'digest-mismatch',
      `read blob ${digest} of ${this.path}: digest mismatch; got ${got}, want ${digest}`,
      {
        hint: damagedHint,
      },
    );
  }

  /** What is wrong with the content of a blob that the bundle carries; undefined where nothing is. */
  async damageOf(name: string): Promise<string | undefined> {
    const blob = isDigest(name) ? this.catalog.blob(name) : undefined;
    if (blob?.offset === undefined) return undefined;
    const verifier = new Verifier(blob.digest, blob.size);
    try {
      const content = this.file.stream(this.head.start + blob.offset, blob.size);
      for await (const chunk of content as AsyncIterable<Buffer>) verifier.update(chunk);
      verifier.end();
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  async *referrers(_repository: Repository, digest: Digest): AsyncIterable<Descriptor> {
    for (const descriptor of this.catalog.referrers(digest)) {
      const manifest = parseManifest(
        await this.read(descriptor.digest),
        descriptor.mediaType,
        `manifest ${descriptor.digest}`,
      );
      const config = manifest.kind === 'manifest' ? manifest.config?.mediaType : undefined;
      yield {
        ...descriptor,
        artifactType: manifest.artifactType ?? config,
        annotations: manifest.annotations,
      };
    }
  }

  async close(): Promise<void> {
    this.catalog.close();
    await this.file.close();
  }

  #place(digest: Digest): { position: number; size: number } {
    const blob = this.catalog.blob(digest);
    if (blob?.offset !== undefined) return { position: this.head.start + blob.offset, size: blob.size };
    throw new AirliftError(
      'not-found',
      blob === undefined
        ? `read blob ${digest}: not in ${this.path}`
        : `read blob ${digest}: left out of ${this.path} (${blob.leftOut ?? 'no reason given'})`,
    );
  }
}

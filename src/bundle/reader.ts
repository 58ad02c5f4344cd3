import type { Readable } from 'node:stream';
import { AirliftError, checkInterrupted, messageOf } from '../errors.js';
import type { ByteRange } from '../io/byte-range.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest, Verifier, type Digest } from '../oci/digest.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import { Catalog, type BundleBlob, type BundleCounts, type BundleImage } from './format/catalog.js';
import { BundleFile, type HeldVolume } from './format/file.js';
import { pathOf, type BundlePlace, type HeldFiles } from './format/volumes/files.js';
import { damagedVolumes, requireVolumes, withVolumes } from './format/volumes/damage.js';
import { damagedHint, readHead, type Head } from './format/head.js';
import { endLength } from '../tar/header.js';

/** @throws AirliftError `damaged` unless exactly the two zero blocks follow the last blob */
async function checkTail(file: BundleFile, size: number, want: number): Promise<void> {
  const end = await file.read(want - endLength, endLength);
  const happened =
    size > want
      ? `data after the end of the archive; got ${size} bytes, want ${want}`
      : end.every((byte) => byte === 0)
        ? undefined
        : 'the end-of-archive blocks are not zeros';
  if (happened !== undefined)
    throw new AirliftError('damaged', `open ${file.path}: ${happened}`, { hint: damagedHint });
}

/** Reads a bundle by its catalog. As with any Source, the caller verifies what `fetch` returns. */
export class BundleReader implements Source {
  private constructor(
    readonly file: BundleFile,
    readonly head: Head,
    readonly catalog: Catalog,
    /** Bytes of the file. */
    readonly size: number,
  ) {}

  /**
   * Opens a bundle. Reads only the head of the file, and checks its catalog completely.
   * @param name its name in messages, if its path means nothing to the user
   * @param checkHead called before anything in the file is used, with the names and places of the head's entries
   * @throws AirliftError `input` if it is not a bundle, `damaged` if its head is damaged or the file is truncated, `unsupported` if a newer
   *   airlift wrote it, `io`
   */
  static async open(
    place: BundlePlace | HeldFiles,
    name?: string,
    checkHead?: (file: BundleFile, head: Head) => Promise<void>,
  ): Promise<BundleReader> {
    const file = await BundleFile.open(place, 'r', name).catch(async (error: unknown) => {
      // Names the images that need a missing volume.
      await requireVolumes(place, name ?? pathOf(place));
      throw error;
    });
    let catalog: Catalog | undefined;
    let head: Head | undefined;
    try {
      head = await readHead(file);
      await checkHead?.(file, head);
      catalog = await Catalog.open(file, head);
      const { size } = await file.stat();
      const want = head.start + catalog.blobsLength + endLength;
      if (size < want) {
        throw new AirliftError('damaged', `open ${file.path}: truncated; got ${size} bytes, want ${want}`, {
          hint: damagedHint,
        });
      }
      await checkTail(file, size, want);
      return new BundleReader(file, head, catalog, size);
    } catch (error) {
      const length = head?.start ?? 1;
      const named =
        catalog === undefined ? withVolumes(error, file, { position: 0, length }, undefined) : error;
      catalog?.close();
      await file.close();
      throw named;
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

  /** Yields the images, sorted by reference. */
  images(): Iterable<BundleImage> {
    return this.catalog.images();
  }

  /** Yields all blobs in file order. */
  blobs(): Iterable<BundleBlob> {
    return this.catalog.blobs();
  }

  /** Returns the position of a blob's content in the file; undefined if the bundle does not carry it. */
  position(digest: Digest): number | undefined {
    const offset = this.catalog.blob(digest)?.offset;
    return offset === undefined ? undefined : this.head.start + offset;
  }

  /** Returns a blob's content for random access; undefined if the bundle does not carry it. */
  find({ digest }: Pick<Descriptor, 'digest'>): Promise<ByteRange | undefined> {
    const blob = this.catalog.blob(digest);
    if (blob?.offset === undefined) return Promise.resolve(undefined);
    const { size } = blob;
    const start = this.head.start + blob.offset;
    return Promise.resolve({
      size,
      read: (position, length, memory) =>
        this.file.read(start + position, Math.min(length, size - position), memory),
      stream: (position = 0) => this.file.stream(start + position, size - position),
    });
  }

  async resolve(reference: Reference): Promise<Descriptor> {
    const image = this.catalog.image(reference);
    const root =
      image?.root ?? (reference.digest === undefined ? undefined : this.catalog.manifest(reference.digest));
    if (root !== undefined) return root;
    throw new AirliftError('not-found', `resolve ${formatReference(reference)}: not in ${this.path}`, {
      hint: `run airlift inspect ${this.path} to list the images`,
    });
  }

  async fetch(
    _repository: Repository,
    descriptor: Descriptor,
    options: FetchOptions = {},
  ): Promise<Readable> {
    // A stream that is created with an aborted signal would fail before the caller can listen.
    checkInterrupted(options.signal, 'read bundle');
    const { position, size } = this.#place(descriptor.digest);
    const offset = Math.min(options.offset ?? 0, size);
    return this.file.stream(position + offset, size - offset, options);
  }

  /**
   * Reads a manifest, index or other small blob, and verifies its digest.
   * @throws AirliftError `not-found`, `digest-mismatch`, `unsupported` if it is larger than the limit for manifests
   */
  async read(digest: Digest): Promise<Buffer> {
    const { position, size } = this.#place(digest);
    if (size > maxManifestSize) {
      throw new AirliftError(
        'unsupported',
        `read blob ${digest}: too large; got ${size} bytes, want at most ${maxManifestSize}`,
      );
    }
    const bytes = await this.file.read(position, size);
    const got = digestOf(bytes, algorithmOf(digest));
    if (got === digest) return bytes;
    const happened = `read blob ${digest} of ${this.path}: digest mismatch; got ${got}, want ${digest}`;
    throw this.locate(digest, new AirliftError('digest-mismatch', happened, { hint: damagedHint }));
  }

  /** Verifies the content of a blob that the bundle carries. Returns the error `damaged`, or undefined if it is intact. */
  async damageOf(name: string, cause: unknown): Promise<unknown> {
    const blob = isDigest(name) ? this.catalog.blob(name) : undefined;
    if (blob?.offset === undefined) return undefined;
    const verifier = new Verifier(blob.digest, blob.size);
    try {
      const content = this.file.stream(this.head.start + blob.offset, blob.size);
      for await (const chunk of content as AsyncIterable<Buffer>) verifier.update(chunk);
      verifier.end();
      return undefined;
    } catch (error) {
      const happened = `read ${this.path}: ${messageOf(error)}`;
      const damage = new AirliftError('damaged', happened, { cause, hint: damagedHint });
      const range = { position: this.head.start + blob.offset, length: blob.size };
      return this.locate(blob.digest, damage, await damagedVolumes(this.file, range));
    }
  }

  /**
   * Adds to an error about the content of a blob the volumes that hold the blob, and the images that are broken.
   * @param volumes those that are known to be damaged
   */
  locate(digest: Digest, error: unknown, volumes?: HeldVolume[]): unknown {
    const { catalog, file, head } = this;
    const { size, offset } = catalog.blob(digest) ?? {};
    if (size === undefined || offset === undefined) return error;
    const range = { position: head.start + offset, length: size };
    return withVolumes(error, file, range, { catalog, start: head.start }, volumes);
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

import { Readable } from 'node:stream';
import { AirliftError, checkInterrupted } from '../../errors.js';
import type { ByteRange } from '../../io/byte-range.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isIndex } from '../../oci/media-types.js';
import type { Platform } from '../../oci/platform.js';
import { formatReference, type Reference, type Repository } from '../../oci/reference.js';
import type { FetchOptions } from '../../oci/source.js';
import type {
  Archive,
  ArchiveChild,
  ArchiveImage,
  ArchiveShape,
  FoundImage,
  ReadyLayer,
  ShapeReader,
} from './archive.js';
import { PlatformFinder, type PlatformNameRules } from '../platform/platform-finder.js';
import type { Compression } from '../compression/decompress.js';
import type { LayerMemory, ManifestFormat } from './layer-store.js';
import type { Members } from './members.js';
import { openMembers, type OpenedMembers } from './open-members.js';
import { readerFor } from './shape.js';

export interface OpenOptions {
  /** Directory for decompressed archives and compressed layers (default: the system's temporary directory). */
  readonly tmpDir?: string | undefined;
  /** The platform of the archive's images; overrides what the archive states. */
  readonly platform?: Platform | undefined;
  /** Compression of layers that a docker-archive holds uncompressed (default: gzip). */
  readonly layerCompression?: Compression | undefined;
  /** Format of the manifests created for images of docker-archives (default: oci). */
  readonly manifestFormat?: ManifestFormat | undefined;
  /** The cache of compressed layers. */
  readonly layerMemory?: LayerMemory | undefined;
  /** Called with each layer of a docker-archive as soon as its digest is known, while `images` reads the others. */
  readonly onLayer?: ((layer: ReadyLayer) => void) | undefined;
  /** Rules that find platforms in names. */
  readonly nameRules?: PlatformNameRules | undefined;
  /** Whether to compare the stated platforms of images with their programs (default: true). */
  readonly checkPrograms?: boolean | undefined;
  /** The stream to read for the path `-`. */
  readonly stdin?: Readable | undefined;
  /** Checks the list of files before any of them is read as an image. What it throws ends opening. Default: no check. */
  readonly checkMembers?: ((opened: OpenedMembers) => Promise<void>) | undefined;
  readonly warn?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Joins entries of the same image under several names. */
function joined(found: readonly FoundImage[]): FoundImage[] {
  const byRoot = new Map<string, FoundImage>();
  for (const image of found) {
    const key = `${image.root.digest} ${image.companionOf ?? ''}`;
    const known = byRoot.get(key);
    const names = [...new Set([...(known?.names ?? []), ...image.names])];
    byRoot.set(key, { ...(known ?? image), names, tag: known?.tag ?? image.tag });
  }
  return [...byRoot.values()];
}

class OpenArchive implements Archive {
  readonly #finder: PlatformFinder;
  #images: Promise<ArchiveImage[]> | undefined;

  constructor(
    readonly shape: ArchiveShape,
    private readonly members: Members,
    private readonly reader: ShapeReader,
    private readonly options: OpenOptions,
  ) {
    this.#finder = new PlatformFinder(members.file, options);
  }

  get file(): string {
    return this.members.file;
  }

  async *images(): AsyncGenerator<ArchiveImage> {
    yield* await (this.#images ??= this.#read());
  }

  async resolve(reference: Reference): Promise<Descriptor> {
    const { digest, ...named } = reference;
    const name = formatReference(named);
    for await (const { names, root } of this.images())
      if (names.includes(name) && (digest === undefined || digest === root.digest)) return root;
    throw new AirliftError('not-found', `resolve ${formatReference(reference)}: not in ${this.file}`);
  }

  async fetch(
    _repository: Repository,
    descriptor: Descriptor,
    options: FetchOptions = {},
  ): Promise<Readable> {
    const content = await this.reader.find(descriptor);
    if (content !== undefined) return content.stream(options.offset, options);
    throw new AirliftError('not-found', `read ${descriptor.digest} of ${this.file}: not in the archive`, {
      hint: this.members.missingHint,
    });
  }

  referrers(_repository: Repository, digest: Digest): AsyncIterable<Descriptor> {
    return this.reader.referrers(digest);
  }

  holds(descriptor: Descriptor): Promise<boolean> {
    return this.reader.holds(descriptor);
  }

  find(descriptor: Descriptor): Promise<ByteRange | undefined> {
    return this.reader.find(descriptor);
  }

  async close(): Promise<void> {
    await this.reader.close().finally(() => this.members.close());
  }

  async #read(): Promise<ArchiveImage[]> {
    const found: FoundImage[] = [];
    for await (const image of this.reader.images()) {
      checkInterrupted(this.options.signal, 'read archive');
      found.push(image);
    }
    const images: ArchiveImage[] = [];
    for (const image of joined(found)) images.push(await this.#withPlatforms(image));
    return images;
  }

  async #withPlatforms(image: FoundImage): Promise<ArchiveImage> {
    const children: ArchiveChild[] = [];
    const isAlone = image.children.filter(({ configBytes }) => configBytes !== undefined).length < 2;
    for (const { descriptor, entry, config, isMade, absent, ...found } of image.children) {
      checkInterrupted(this.options.signal, 'read archive');
      const entryPlatform = isIndex(image.root.mediaType) ? descriptor.platform : image.root.platform;
      const isRunnable = found.configBytes !== undefined;
      const child = { descriptor, entry, config, isMade, absent, isRunnable };
      const platform = await this.#finder.find({ ...child, ...found }, entryPlatform, isAlone, image.names);
      children.push({ ...child, platform });
    }
    return { ...image, children, file: this.file };
  }
}

/**
 * Opens an archive of images. Shape and compression are detected by content.
 * @param path a file, a directory, or `-` for `options.stdin`
 * @throws AirliftError `input` where it holds no images; `not-found`, `io`, `no-space`, `interrupted`, `damaged`, `unsupported`
 */
export async function openArchive(path: string, options: OpenOptions = {}): Promise<Archive> {
  const opened = await openMembers(path, options);
  const { members } = opened;
  try {
    await options.checkMembers?.(opened);
    const { shape, reader } = await readerFor(members, options);
    return new OpenArchive(shape, members, reader, options);
  } catch (error) {
    await members.close();
    throw error;
  }
}

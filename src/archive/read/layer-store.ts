import { appendFile, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { layersAtATime, readLayer, type ReadLayer } from './layer-thread.js';
import type { CompressedLayer } from '../compression/compress.js';
import { magicLength, detectCompression, type Compression } from '../compression/decompress.js';
import { zstdVersion } from '../compression/zstd-writer.js';
import { Scratch } from '../io/scratch.js';
import { withContent, type LayerFiles } from '../platform/layer-files.js';
import { Slots } from '../../concurrency.js';
import { AirliftError, messageOf } from '../../errors.js';
import type { PlacedRange } from '../../io/byte-range.js';
import { makeDirectory } from '../../io/directories.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { dockerLayer, dockerLayerGzip, ociLayer, ociLayerGzip, ociLayerZstd } from '../../oci/media-types.js';

/** Digest and size of a compressed layer. */
export type RememberedLayer = Pick<Descriptor, 'digest' | 'size'>;

/** A cache of the digests of compressed layers, so that a layer that the registry already has is not compressed again. */
export interface LayerMemory {
  get(diffId: Digest, compression: Compression): RememberedLayer | undefined;
  set(diffId: Digest, compression: Compression, layer: RememberedLayer): Promise<void>;
}

/** Returns the version of the compression: another method or encoder gives other bytes. */
function recipe(compression: Compression): string {
  if (compression === 'zstd') return `zstd-2-${zstdVersion}`;
  return `${compression}-2-zlib-${process.versions['zlib'] ?? ''}`;
}

/** The most lines that are read from a file, counted from its end. */
const maxLines = 200_000;

function parseLines(text: string): Map<string, RememberedLayer> {
  const known = new Map<string, RememberedLayer>();
  for (const line of text.split('\n').slice(-maxLines)) {
    const [diffId, how, digest, size] = line.split(' ');
    // A crash may leave an incomplete line.
    if (isDigest(diffId) && isDigest(digest) && /^\d{1,15}$/.test(size ?? ''))
      known.set(`${diffId} ${how}`, { digest, size: Number(size) });
  }
  return known;
}

/**
 * Opens a cache in a file, one line per layer: `diff_id recipe digest size`. The file may be removed at any time. If it cannot be used,
 * the cache lasts for this run only.
 * @param warn called once, with the reason, if the file cannot be used
 */
export async function openLayerMemory(path: string, warn: (message: string) => void): Promise<LayerMemory> {
  let known = new Map<string, RememberedLayer>();
  let isKept = true;
  const disable = (error: unknown): void => {
    if (isKept) warn(`use the layer cache ${path}: ${messageOf(error)}; compressed layers are not cached`);
    isKept = false;
  };
  try {
    await makeDirectory(dirname(path));
    const file = await open(path, 'a+', 0o600);
    try {
      if (!(await file.stat()).isFile()) throw new Error('not a file');
      known = parseLines(await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (error) {
    disable(error);
  }
  return {
    get: (diffId, compression) => known.get(`${diffId} ${recipe(compression)}`),
    set: async (diffId, compression, layer) => {
      const key = `${diffId} ${recipe(compression)}`;
      known.set(key, layer);
      if (isKept) await appendFile(path, `${key} ${layer.digest} ${layer.size}\n`).catch(disable);
    },
  };
}

/** The format of manifests that are created for images without one. */
export type ManifestFormat = 'oci' | 'docker';

export interface LayerStoreOptions {
  /** The compression of layers that the archive holds uncompressed. */
  readonly compression: Compression;
  readonly format: ManifestFormat;
  readonly tmpDir?: string | undefined;
  readonly memory?: LayerMemory | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A layer of a docker-archive as it is published. */
interface Packed {
  readonly descriptor: Descriptor;
  /** Returns its bytes; the first call may have to compress them. */
  readonly bytes: () => Promise<PlacedRange>;
}

function mediaTypeOf(compression: Compression, format: ManifestFormat, what: string): string {
  if (format === 'oci') return { gzip: ociLayerGzip, zstd: ociLayerZstd, none: ociLayer }[compression];
  if (compression !== 'zstd') return compression === 'gzip' ? dockerLayerGzip : dockerLayer;
  throw new AirliftError('unsupported', `read ${what}: Docker manifests cannot contain zstd layers`, {
    hint: "use `archives.manifestFormat: 'oci'`",
  });
}

/** The most files of layers that are kept, so that a layer that was just read is not scanned again. */
const maxKeptFiles = 200_000;

/**
 * Stores the layers of docker-archives as they are published. Each diff_id is verified and compressed once, into a scratch file, however
 * many images share it; its programs are found on the way. Layers that the archive holds compressed are kept unchanged.
 */
export class LayerStore {
  readonly #byDiffId = new Map<Digest, Promise<Packed>>();
  readonly #byDigest = new Map<Digest, Packed>();
  readonly #files = new Map<Digest, LayerFiles>();
  /** Uncompressed layers that were not read, because the cache knows what they become. */
  readonly #unread = new Map<Digest, { readonly content: PlacedRange; readonly what: string }>();
  #keptFiles = 0;
  /** Scratch files that no thread appends to, and all of them. */
  readonly #freeScratch: Scratch[] = [];
  readonly #scratch: Scratch[] = [];
  readonly #slots = new Slots(layersAtATime);

  constructor(private readonly options: LayerStoreOptions) {}

  /**
   * Adds a layer unless it is known.
   * @param what names it in messages
   * @throws AirliftError `digest-mismatch` where its content does not match `diffId`; `no-space`, `damaged`, `unsupported`
   */
  async add(diffId: Digest, content: PlacedRange, what: string): Promise<Descriptor> {
    let adding = this.#byDiffId.get(diffId);
    if (adding === undefined) {
      adding = this.#pack(diffId, content, what);
      this.#byDiffId.set(diffId, adding);
    }
    const packed = await adding;
    this.#byDigest.set(packed.descriptor.digest, packed);
    return packed.descriptor;
  }

  holds(digest: Digest): boolean {
    return this.#byDigest.has(digest);
  }

  /** Returns a layer as it is published; undefined where it is unknown. */
  async find(digest: Digest): Promise<PlacedRange | undefined> {
    return await this.#byDigest.get(digest)?.bytes();
  }

  /** Returns the files of a layer that was read; undefined where it was not, or where they were too many to be kept. */
  filesOf(diffId: Digest): LayerFiles | undefined {
    return this.#files.get(diffId);
  }

  /** Finds the files of a layer that was not read, because the cache knows what it becomes; undefined for other layers. */
  scan(diffId: Digest): Promise<LayerFiles> | undefined {
    const unread = this.#unread.get(diffId);
    if (unread === undefined) return undefined;
    const { content, what } = unread;
    const { place, size } = content;
    return this.#slots.run(async () => {
      const { files } = await readLayer({ kind: 'scan', place, size, what }, this.options.signal);
      return withContent(content, files);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#scratch.map((scratch) => scratch.close()));
  }

  async #pack(diffId: Digest, content: PlacedRange, what: string): Promise<Packed> {
    const held = detectCompression(await content.read(0, magicLength), what);
    const { compression, format, memory } = this.options;
    if (held !== 'none' || compression === 'none') {
      const { digest } = await this.#verify(diffId, content, what, held);
      const descriptor = { mediaType: mediaTypeOf(held, format, what), digest, size: content.size };
      return { descriptor, bytes: () => Promise.resolve(content) };
    }
    const mediaType = mediaTypeOf(compression, format, what);
    const known = memory?.get(diffId, compression);
    if (known !== undefined) {
      this.#unread.set(diffId, { content, what });
      let making: Promise<PlacedRange> | undefined;
      const make = async (): Promise<PlacedRange> => {
        const [made, bytes] = await this.#compress(diffId, content, what);
        if (made.digest !== known.digest) throw cacheMismatch(made.digest, known.digest, what);
        return bytes;
      };
      return { descriptor: { mediaType, ...known }, bytes: () => (making ??= make()) };
    }
    const [{ digest, size }, bytes] = await this.#compress(diffId, content, what);
    await memory?.set(diffId, compression, { digest, size });
    return { descriptor: { mediaType, digest, size }, bytes: () => Promise.resolve(bytes) };
  }

  async #verify(
    diffId: Digest,
    content: PlacedRange,
    what: string,
    held: Compression,
  ): Promise<CompressedLayer> {
    const { place, size } = content;
    const read = await this.#slots.run(() =>
      readLayer({ kind: 'verify', place, size, what }, this.options.signal),
    );
    return this.#checked(read, diffId, held === 'none' ? content : undefined, what);
  }

  /** Compresses a layer into a scratch file. */
  #compress(diffId: Digest, content: PlacedRange, what: string): Promise<[CompressedLayer, PlacedRange]> {
    const { compression, signal } = this.options;
    return this.#slots.run(async () => {
      const scratch = this.#freeScratch.pop() ?? (await this.#createScratch());
      try {
        const { place, size } = content;
        const target = { end: scratch.end, compression };
        const read = await readLayer({ kind: 'compress', place, size, what, target }, signal);
        const layer = this.#checked(read, diffId, content, what);
        return [layer, scratch.grow(layer.size, what)];
      } finally {
        this.#freeScratch.push(scratch);
      }
    });
  }

  async #createScratch(): Promise<Scratch> {
    const scratch = await Scratch.create(this.options.tmpDir);
    this.#scratch.push(scratch);
    return scratch;
  }

  /** @param content the layer if it is uncompressed, so that its programs can be read again */
  #checked(
    { layer, files }: ReadLayer,
    diffId: Digest,
    content: PlacedRange | undefined,
    what: string,
  ): CompressedLayer {
    if (layer.diffId !== diffId) throw wrongLayer(layer.diffId, diffId, what);
    this.#keptFiles += files.files.size;
    if (this.#keptFiles <= maxKeptFiles)
      this.#files.set(diffId, content === undefined ? files : withContent(content, files));
    return layer;
  }
}

function wrongLayer(got: string, want: Digest, what: string): AirliftError {
  return new AirliftError(
    'digest-mismatch',
    `read ${what}: digest mismatch against rootfs.diff_ids; got ${got}, want ${want}`,
    { hint: 'the archive is damaged: copy it again, or ask its publisher for another' },
  );
}

function cacheMismatch(got: Digest, want: Digest, what: string): AirliftError {
  return new AirliftError(
    'conflict',
    `compress ${what}: digest differs from the cached one; got ${got}, want ${want}`,
    { hint: 'delete the layer cache file' },
  );
}

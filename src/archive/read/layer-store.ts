import { createHash } from 'node:crypto';
import { appendFile, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { compressLayer, type CompressedLayer } from '../compression/compress.js';
import { decompress, magicLength, detectCompression, type Compression } from '../compression/decompress.js';
import { Scratch } from '../io/scratch.js';
import { AirliftError, messageOf } from '../../errors.js';
import type { ByteRange } from '../../io/byte-range.js';
import { makeDirectory } from '../../io/directories.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDigest, parseDigest, type Digest } from '../../oci/digest.js';
import { dockerLayer, dockerLayerGzip, ociLayer, ociLayerGzip, ociLayerZstd } from '../../oci/media-types.js';

/** Digest and size of a compressed layer. */
export type RememberedLayer = Pick<Descriptor, 'digest' | 'size'>;

/** A cache of the digests of compressed layers, so that a layer that the registry already has is not compressed again. */
export interface LayerMemory {
  get(diffId: Digest, compression: Compression): RememberedLayer | undefined;
  set(diffId: Digest, compression: Compression, layer: RememberedLayer): Promise<void>;
}

/** Returns the version of the compression: another method or zlib gives other bytes. */
function recipe(compression: Compression): string {
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
  readonly bytes: () => Promise<ByteRange>;
}

function mediaTypeOf(compression: Compression, format: ManifestFormat, what: string): string {
  if (format === 'oci') return { gzip: ociLayerGzip, zstd: ociLayerZstd, none: ociLayer }[compression];
  if (compression !== 'zstd') return compression === 'gzip' ? dockerLayerGzip : dockerLayer;
  throw new AirliftError('unsupported', `read ${what}: Docker manifests cannot contain zstd layers`, {
    hint: "use `archives.manifestFormat: 'oci'`",
  });
}

/** Hashes chunks as they pass. */
async function* hashing(
  chunks: AsyncIterable<Uint8Array>,
  hash: { update(chunk: Uint8Array): unknown },
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/**
 * Stores the layers of docker-archives as they are published. Each diff_id is verified and compressed once, into a scratch file, however
 * many images share it. Layers that the archive holds compressed are kept unchanged.
 */
export class LayerStore {
  readonly #byDiffId = new Map<Digest, Promise<Packed>>();
  readonly #byDigest = new Map<Digest, Packed>();
  #scratch: Promise<Scratch> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: LayerStoreOptions) {}

  /**
   * Adds a layer unless it is known.
   * @param what names it in messages
   * @throws AirliftError `digest-mismatch` where its content does not match `diffId`; `no-space`, `damaged`, `unsupported`
   */
  async add(diffId: Digest, content: ByteRange, what: string): Promise<Descriptor> {
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
  async find(digest: Digest): Promise<ByteRange | undefined> {
    return await this.#byDigest.get(digest)?.bytes();
  }

  async close(): Promise<void> {
    const scratch = await this.#scratch?.catch(() => undefined);
    await scratch?.close();
  }

  async #pack(diffId: Digest, content: ByteRange, what: string): Promise<Packed> {
    const held = detectCompression(await content.read(0, magicLength), what);
    const { compression, format, memory } = this.options;
    if (held !== 'none' || compression === 'none') {
      const digest = await verifyDiffId(content, diffId, what);
      const descriptor = { mediaType: mediaTypeOf(held, format, what), digest, size: content.size };
      return { descriptor, bytes: () => Promise.resolve(content) };
    }
    const mediaType = mediaTypeOf(compression, format, what);
    const known = memory?.get(diffId, compression);
    if (known !== undefined) {
      let making: Promise<ByteRange> | undefined;
      const make = async (): Promise<ByteRange> => {
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

  /** Compresses a layer into the scratch file, one layer at a time, because each uses all cores. */
  #compress(diffId: Digest, content: ByteRange, what: string): Promise<[CompressedLayer, ByteRange]> {
    const turn = this.#turn.then(() => this.#compressNow(diffId, content, what));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #compressNow(
    diffId: Digest,
    content: ByteRange,
    what: string,
  ): Promise<[CompressedLayer, ByteRange]> {
    const { tmpDir, compression, signal } = this.options;
    this.#scratch ??= Scratch.create(tmpDir);
    const { stream, range } = (await this.#scratch).append(what);
    const layer = await compressLayer(content.stream(), stream, compression, { signal });
    if (layer.diffId !== diffId) throw wrongLayer(layer.diffId, diffId, what);
    return [layer, range()];
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

/** Verifies that a layer, compressed or not, has the content of `diffId`, and returns the digest of the layer itself. */
async function verifyDiffId(content: ByteRange, diffId: Digest, what: string): Promise<Digest> {
  const outer = createHash('sha256');
  const inner = createHash('sha256');
  const unpacked = await decompress(hashing(content.stream(), outer), what);
  for await (const chunk of unpacked.content as AsyncIterable<Buffer>) inner.update(chunk);
  const got = `sha256:${inner.digest('hex')}`;
  if (got !== diffId) throw wrongLayer(got, diffId, what);
  return parseDigest(`sha256:${outer.digest('hex')}`);
}

import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { AirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, hexOf, type Digest } from '../../oci/digest.js';
import { diffIdsOf } from '../../oci/manifest.js';
import { formatReference, type Reference } from '../../oci/reference.js';
import { verified } from '../../oci/verified.js';
import { decompress } from '../compression/decompress.js';
import { contentOf, type EntryWriter } from './entry-writer.js';
import { Scratch } from '../io/scratch.js';

/** A layer to write. */
export interface LayerToWrite {
  readonly descriptor: Descriptor;
  readonly open: () => Promise<AsyncIterable<Buffer>>;
}

/** An image of one platform to write. */
export interface ImageToWrite {
  readonly reference: Reference;
  readonly config: Buffer;
  readonly layers: readonly LayerToWrite[];
}

/** An entry of `manifest.json`. */
interface SavedImage {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
}

/** Returns the diff_ids of a config, one for each layer of the manifest. */
function matchingDiffIds(config: Buffer, name: string, layers: number): Digest[] {
  const diffIds = diffIdsOf(config, `config of ${name}`);
  if (diffIds.length === layers) return diffIds;
  throw new AirliftError(
    'input',
    `save ${name}: the layers of manifest and config differ; got ${layers} in the manifest, want ${diffIds.length} as rootfs.diff_ids lists`,
  );
}

/**
 * Writes the archive format of `docker save`, which every `docker load` reads: configs unchanged, layers uncompressed and named by
 * their diff_id, each once, and `manifest.json` (Docker image specification v1.2).
 */
export class DockerArchiveWriter {
  readonly #entries = new Set<string>();
  readonly #images: SavedImage[] = [];

  /** @param tmpDir where layers are decompressed, because the archive needs a layer's size before its content */
  constructor(
    private readonly to: EntryWriter,
    private readonly tmpDir: string | undefined,
  ) {}

  /**
   * Adds an image.
   * @throws AirliftError `input` where config and manifest have different numbers of layers; `digest-mismatch` where a layer does not
   *   match its descriptor or its diff_id; `damaged`, `no-space`, `io`; errors of the layers
   */
  async addImage({ reference, config, layers }: ImageToWrite): Promise<void> {
    const name = formatReference(reference);
    const diffIds = matchingDiffIds(config, name, layers.length);
    const Config = `${hexOf(digestOf(config))}.json`;
    if (!this.#entries.has(Config)) await this.to.add(Config, config.byteLength, contentOf(config));
    this.#entries.add(Config);
    const Layers: string[] = [];
    for (const [at, layer] of layers.entries())
      Layers.push(await this.#addLayer(layer, diffIds[at] as Digest));
    this.#images.push({ Config, RepoTags: repoTags(reference), Layers });
  }

  /** Writes `manifest.json`. The caller finishes the entry writer. */
  async end(): Promise<void> {
    const manifest = Buffer.from(JSON.stringify(this.#images));
    await this.to.add('manifest.json', manifest.byteLength, contentOf(manifest));
  }

  async #addLayer({ descriptor, open }: LayerToWrite, diffId: Digest): Promise<string> {
    const name = `${hexOf(diffId)}.tar`;
    if (this.#entries.has(name)) return name;
    const content = verified(await open(), descriptor);
    if (descriptor.digest === diffId) await this.to.add(name, descriptor.size, content);
    else await this.#addUnpacked(name, content, descriptor, diffId);
    this.#entries.add(name);
    return name;
  }

  async #addUnpacked(
    name: string,
    packed: AsyncIterable<Buffer>,
    { digest }: Descriptor,
    diffId: Digest,
  ): Promise<void> {
    const what = `layer ${digest}`;
    const scratch = await Scratch.create(this.tmpDir);
    try {
      const hash = createHash(algorithmOf(diffId));
      const { content } = await decompress(packed, what);
      const { stream, range } = scratch.append(what);
      const hashed = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      };
      await pipeline(content, hashed, stream);
      const got = `${algorithmOf(diffId)}:${hash.digest('hex')}`;
      if (got !== diffId) {
        throw new AirliftError(
          'digest-mismatch',
          `unpack ${what}: digest mismatch against rootfs.diff_ids; got ${got}, want ${diffId}`,
        );
      }
      await this.to.add(name, range().size, range().stream());
    } finally {
      await scratch.close();
    }
  }
}

/** Returns full names, because podman expands short names to `localhost`. The format has no names without a tag. */
function repoTags(reference: Reference): string[] | null {
  return reference.tag === undefined ? null : [formatReference({ ...reference, digest: undefined })];
}

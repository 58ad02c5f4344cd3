import { AirliftError, checkInterrupted } from '../errors.js';
import type { ByteRange } from '../io/byte-range.js';
import type { Inputs } from '../merge/open-inputs.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../oci/digest.js';
import { isForeignLayer } from '../oci/media-types.js';
import { Planner, type PlanSink } from '../plan/planner.js';
import type { StoredBlob, StoredManifest } from '../registry-server/store-content.js';
import { openContent, smallBlob } from './bundle-content.js';
import type { Guard } from './file-guard.js';
import type { ImageContent } from './image-store.js';

/** The content that an import of the same inputs would publish. Digests and sizes are kept in memory; content stays in the files. */
export class MergedContent implements ImageContent {
  readonly #manifests = new Map<Digest, Descriptor>();
  readonly #blobs = new Map<Digest, Descriptor>();

  /** @param guard watches the files of the inputs */
  private constructor(
    private readonly inputs: Inputs,
    private readonly guard: Guard,
  ) {}

  /**
   * Walks all images of the inputs, which must stay open.
   * @throws AirliftError errors of reading manifests; `interrupted`
   */
  static async open(inputs: Inputs, guard: Guard, signal?: AbortSignal): Promise<MergedContent> {
    const content = new MergedContent(inputs, guard);
    const sink: PlanSink = {
      has: (digest) => content.#blobs.has(digest),
      addBlob: ({ descriptor }) => {
        const { mediaType, digest } = descriptor;
        if (!isForeignLayer(mediaType) || inputs.hasForeign(digest)) content.#blobs.set(digest, descriptor);
      },
      addManifest: ({ descriptor }) => void content.#manifests.set(descriptor.digest, descriptor),
    };
    const planner = new Planner(inputs.source, sink, { referrers: true, signal });
    for (const image of inputs.images) {
      checkInterrupted(signal, 'read images');
      await planner.planImage(image);
    }
    return content;
  }

  async manifest(digest: Digest): Promise<StoredManifest | undefined> {
    const descriptor = this.#manifests.get(digest);
    const content = descriptor === undefined ? undefined : await this.inputs.source.find(descriptor);
    if (descriptor === undefined || content === undefined) return undefined;
    return { digest, mediaType: descriptor.mediaType, bytes: await readVerified(content, digest) };
  }

  /** A layer is not looked up before it is read: an uncompressed one may have to be compressed first. */
  async blob(digest: Digest): Promise<StoredBlob | undefined> {
    const descriptor = this.#blobs.get(digest);
    if (descriptor === undefined) return undefined;
    const { size } = descriptor;
    const find = async (): Promise<ByteRange> => {
      const content = await this.inputs.source.find(descriptor);
      if (content?.size === size) return content;
      const got = content === undefined ? 'nothing' : `${content.size} bytes`;
      throw new AirliftError('size-mismatch', `read blob ${digest}: size mismatch; got ${got}, want ${size}`);
    };
    if (size < smallBlob) return { size, content: await readVerified(await find(), digest) };
    return { size, content: async () => openContent(await find(), this.guard) };
  }

  referrers(digest: Digest): AsyncIterable<Descriptor> {
    return this.inputs.source.referrers({ registry: '', repository: '' }, digest);
  }
}

/** @throws AirliftError `digest-mismatch` */
async function readVerified(content: ByteRange, digest: Digest): Promise<Buffer> {
  const bytes = await content.read(0, content.size);
  const got = digestOf(bytes, algorithmOf(digest));
  if (got === digest) return bytes;
  throw new AirliftError('digest-mismatch', `read ${digest}: digest mismatch; got ${got}, want ${digest}`);
}

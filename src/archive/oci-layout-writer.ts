import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { platformFields } from '../oci/index-child.js';
import { ociIndex } from '../oci/media-types.js';
import { formatReference, type Reference } from '../oci/reference.js';
import { verified } from '../oci/verified.js';
import { contentOf, type EntryWriter } from './entry-writer.js';

/**
 * Writes an OCI image layout (image-spec, image-layout.md). `index.json` comes last, so that any number of images is written in
 * one go; every blob is there once.
 */
export class OciLayoutWriter {
  readonly #blobs = new Set<Digest>();
  readonly #entries: string[] = [];

  private constructor(private readonly to: EntryWriter) {}

  static async begin(to: EntryWriter): Promise<OciLayoutWriter> {
    const layout = '{"imageLayoutVersion":"1.0.0"}';
    await to.add('oci-layout', layout.length, contentOf(layout));
    return new OciLayoutWriter(to);
  }

  has(digest: Digest): boolean {
    return this.#blobs.has(digest);
  }

  /**
   * Adds a blob, unless it is there.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is wrong; `io`, `no-space`; what `content` fails with
   */
  async addBlob({ digest, size }: Descriptor, content: AsyncIterable<Buffer>): Promise<void> {
    if (this.#blobs.has(digest)) return;
    const name = `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
    await this.to.add(name, size, verified(content, { digest, size }));
    this.#blobs.add(digest);
  }

  /** Names an image whose blobs are added: so that containerd, docker and podman take the name, in both ways they know. */
  addImage(reference: Reference, { mediaType, digest, size, platform, artifactType }: Descriptor): void {
    const name = formatReference(reference);
    const entry = {
      mediaType,
      digest,
      size,
      ...(platform === undefined ? {} : { platform: platformFields(platform) }),
      ...(artifactType === undefined ? {} : { artifactType }),
      annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
    };
    this.#entries.push(JSON.stringify(entry));
  }

  /** Ends the layout; what it is written to has to be finished after it. */
  async end(): Promise<void> {
    const index = Buffer.from(
      `{"schemaVersion":2,"mediaType":"${ociIndex}","manifests":[${this.#entries.join(',')}]}`,
    );
    await this.to.add('index.json', index.byteLength, contentOf(index));
  }
}

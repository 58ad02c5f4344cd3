import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { blobPath, layoutContent } from '../../oci/image-layout.js';
import { platformFields } from '../../oci/index-child.js';
import { ociIndex } from '../../oci/media-types.js';
import { formatReference, type Reference } from '../../oci/reference.js';
import { verified } from '../../oci/verified.js';
import { contentOf, type EntryWriter } from './entry-writer.js';

/**
 * Writes an OCI image layout (image-spec, image-layout.md). `index.json` comes last, so that images can be added until the end; each
 * blob is written once.
 */
export class OciLayoutWriter {
  readonly #blobs = new Set<Digest>();
  readonly #entries: string[] = [];
  /** Items of `manifest.json`, keyed by config and layers. */
  readonly #saved = new Map<string, { Config: string; RepoTags: string[]; Layers: string[] }>();

  private constructor(private readonly to: EntryWriter) {}

  static async begin(to: EntryWriter): Promise<OciLayoutWriter> {
    await to.add('oci-layout', layoutContent.length, contentOf(layoutContent));
    return new OciLayoutWriter(to);
  }

  has(digest: Digest): boolean {
    return this.#blobs.has(digest);
  }

  /**
   * Adds a blob unless it was added before.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is wrong; `io`, `no-space`; errors of `content`
   */
  async addBlob({ digest, size }: Descriptor, content: AsyncIterable<Buffer>): Promise<void> {
    if (this.#blobs.has(digest)) return;
    await this.to.add(blobPath(digest), size, verified(content, { digest, size }));
    this.#blobs.add(digest);
  }

  /** Adds an image whose blobs were added before. Containerd, docker and podman read its name from different annotations. */
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

  /**
   * Adds an image to `manifest.json` too, as docker ≥ 25 does, for readers of docker-archives: it names the same blobs. An image with a
   * missing layer is omitted there, because such readers need all layers.
   */
  addSaved(reference: Reference, config: Digest, layers: readonly Digest[]): void {
    if (![config, ...layers].every((digest) => this.#blobs.has(digest))) return;
    const [Config = '', ...Layers] = [config, ...layers].map(blobPath);
    const key = [Config, ...Layers].join(' ');
    const saved = this.#saved.get(key) ?? { Config, RepoTags: [], Layers };
    const name = formatReference({ ...reference, digest: undefined });
    if (!saved.RepoTags.includes(name)) saved.RepoTags.push(name);
    this.#saved.set(key, saved);
  }

  /** Writes `manifest.json` and `index.json`. The caller finishes the entry writer. */
  async end(): Promise<void> {
    if (this.#saved.size > 0) {
      const saved = Buffer.from(JSON.stringify([...this.#saved.values()]));
      await this.to.add('manifest.json', saved.byteLength, contentOf(saved));
    }
    const index = Buffer.from(
      `{"schemaVersion":2,"mediaType":"${ociIndex}","manifests":[${this.#entries.join(',')}]}`,
    );
    await this.to.add('index.json', index.byteLength, contentOf(index));
  }
}

import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { ContentStore, Page, StoredBlob, StoredManifest } from '../registry-server/store-content.js';
import type { ImageNames } from './image-names.js';

/** The content of images, by digest. */
export interface ImageContent {
  manifest(digest: Digest): Promise<StoredManifest | undefined>;
  blob(digest: Digest): Promise<StoredBlob | undefined>;
  /** Yields the referrers of `digest` in a stable order. */
  referrers(digest: Digest): AsyncIterable<Descriptor>;
}

/**
 * Presents images as the read-only content of a registry. Every repository has all content: who can read one image of a bundle can read
 * all of it.
 */
export class ImageStore implements ContentStore {
  constructor(
    private readonly names: ImageNames,
    private readonly content: ImageContent,
  ) {}

  readonly mirror = (registry: string, repository: string): string | undefined =>
    this.names.mirror(registry, repository);

  repositories(page: Page): Promise<string[]> {
    return Promise.resolve(this.names.repositories(page));
  }

  tags(repository: string, page: Page): Promise<string[] | undefined> {
    return Promise.resolve(this.names.tags(repository, page));
  }

  resolveTag(repository: string, tag: string): Promise<Digest | undefined> {
    return Promise.resolve(this.names.resolveTag(repository, tag));
  }

  async manifest(repository: string, digest: Digest): Promise<StoredManifest | undefined> {
    return this.names.has(repository) ? await this.content.manifest(digest) : undefined;
  }

  async blob(repository: string, digest: Digest): Promise<StoredBlob | undefined> {
    return this.names.has(repository) ? await this.content.blob(digest) : undefined;
  }

  async *referrers(
    repository: string,
    digest: Digest,
    after: string | undefined,
  ): AsyncGenerator<Descriptor> {
    if (!this.names.has(repository)) return;
    let begun = after === undefined;
    for await (const descriptor of this.content.referrers(digest)) {
      if (begun) yield descriptor;
      begun ||= descriptor.digest === after;
    }
  }
}

import type { BundleReader } from '../bundle/reader.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import {
  dockerHubNames,
  formatReference,
  formatRepository,
  isRepositoryPath,
  type Reference,
} from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import type {
  ContentStore,
  OpenContent,
  Page,
  StoredBlob,
  StoredManifest,
} from '../registry-server/store-content.js';
import { takePage } from '../registry-server/store-listing.js';

/** Smaller blobs are read whole and verified before they are served. */
const smallBlob = 64 * 1024;

/** The digest that a tag points to, and the image that owns the tag; undefined if images of several registries have it. */
interface Tagged {
  readonly digest: Digest;
  readonly owner: Reference | undefined;
}

/**
 * Presents the images of a bundle as the read-only content of a registry. Each image has two names: its repository path
 * (`library/busybox`) and its full name (`docker.io/library/busybox`). If one name means two images, the full name wins.
 */
export class BundleStore implements ContentStore {
  readonly #reader: BundleReader;
  readonly #repositories = new Map<string, Map<string, Tagged>>();
  readonly #ambiguous = new Set<string>();

  /** @param checkSource throws once the bundle's file may have changed */
  constructor(
    reader: BundleReader,
    private readonly checkSource: () => Promise<void>,
  ) {
    this.#reader = reader;
    for (const image of reader.images()) this.#addFullName(image);
    for (const image of reader.images()) this.#addShortName(image);
  }

  /** References that share repository path and tag with an image of another registry. Clients find them by their full names only. */
  get ambiguous(): string[] {
    return [...this.#ambiguous];
  }

  #tagsOf(repository: string): Map<string, Tagged> {
    const tags = this.#repositories.get(repository) ?? new Map<string, Tagged>();
    this.#repositories.set(repository, tags);
    return tags;
  }

  #addFullName(image: Image): void {
    const { reference, root } = image;
    const name = formatRepository(reference);
    const tags = this.#tagsOf(name);
    // `name:tag` wins over `name:tag@digest`, whose tag is informative only.
    if (reference.tag !== undefined && !tags.has(reference.tag))
      tags.set(reference.tag, { digest: root.digest, owner: reference });
  }

  #addShortName(image: Image): void {
    const { reference, root } = image;
    const tags = this.#tagsOf(reference.repository);
    if (reference.tag === undefined) return;
    const other = tags.get(reference.tag);
    if (other === undefined) tags.set(reference.tag, { digest: root.digest, owner: reference });
    if (other === undefined || other.digest === root.digest) return;
    if (other.owner?.registry === reference.registry) return;
    this.#ambiguous.add(formatReference(reference));
    if (other.owner?.repository !== reference.repository) return;
    this.#ambiguous.add(formatReference(other.owner));
    tags.set(reference.tag, { digest: other.digest, owner: undefined });
  }

  repositories(page: Page): Promise<string[]> {
    return Promise.resolve(takePage([...this.#repositories.keys()].filter(isRepositoryPath), page));
  }

  /** Returns the repository of exactly this registry, even if other registries have the same path. Only this finds a registry with a port. */
  readonly mirror = (registry: string, repository: string): string | undefined => {
    const host = dockerHubNames.includes(registry) ? 'docker.io' : registry;
    const names = [`${host}/${repository}`, ...(repository.startsWith(`${host}/`) ? [repository] : [])];
    return names.find((name) => this.#repositories.has(name));
  };

  tags(repository: string, page: Page): Promise<string[] | undefined> {
    const tags = this.#repositories.get(repository);
    if (tags === undefined) return Promise.resolve(undefined);
    const found = [...tags].filter(([, { owner }]) => owner !== undefined).map(([tag]) => tag);
    return Promise.resolve(takePage(found, page));
  }

  resolveTag(repository: string, tag: string): Promise<Digest | undefined> {
    const tagged = this.#repositories.get(repository)?.get(tag);
    return Promise.resolve(tagged?.owner === undefined ? undefined : tagged.digest);
  }

  async manifest(repository: string, digest: Digest): Promise<StoredManifest | undefined> {
    if (!this.#repositories.has(repository) || this.#reader.position(digest) === undefined) return undefined;
    const mediaType = this.#reader.catalog.manifest(digest)?.mediaType;
    if (mediaType === undefined) return undefined;
    return { digest, mediaType, bytes: await this.#reader.read(digest) };
  }

  /** Finds a blob in any repository: who can read a bundle can read all of it. */
  async blob(repository: string, digest: Digest): Promise<StoredBlob | undefined> {
    const reader = this.#reader;
    const blob = this.#repositories.has(repository) ? reader.catalog.blob(digest) : undefined;
    const position = reader.position(digest);
    if (blob === undefined || position === undefined) return undefined;
    const { size, kind } = blob;
    if (kind === 'index' || kind === 'manifest') return undefined;
    if (size >= smallBlob) {
      const content: OpenContent = {
        read: (start, length) => reader.file.read(position + start, length),
        check: this.checkSource,
        close: () => Promise.resolve(),
      };
      return { size, content: () => Promise.resolve(content) };
    }
    return { size, content: await reader.read(digest) };
  }

  async *referrers(
    repository: string,
    digest: Digest,
    after: string | undefined,
  ): AsyncGenerator<Descriptor> {
    if (!this.#repositories.has(repository)) return;
    let begun = after === undefined;
    for await (const descriptor of this.#reader.referrers({ registry: '', repository }, digest)) {
      if (begun) yield descriptor;
      begun ||= descriptor.digest === after;
    }
  }
}

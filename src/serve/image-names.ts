import type { Digest } from '../oci/digest.js';
import {
  dockerHubNames,
  formatReference,
  formatRepository,
  isRepositoryPath,
  type Reference,
} from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import type { Page } from '../registry-server/store-content.js';
import { takePage } from '../registry-server/store-listing.js';
import { registryAsPath } from '../site/names.js';

/** The digest that a tag points to, and the image that owns the tag; undefined if images of several registries have it. */
interface Tagged {
  readonly digest: Digest;
  readonly owner: Reference | undefined;
}

/**
 * The names under which images are served. Each image has two: its repository path (`library/busybox`), as `import` publishes it, and its
 * full name (`docker.io/library/busybox`), as `import --keep-registry` does. If one name means two images, the full name wins.
 */
export class ImageNames {
  readonly #repositories = new Map<string, Map<string, Tagged>>();
  readonly #ambiguous = new Set<string>();

  constructor(images: Iterable<Image>) {
    const all = [...images];
    for (const image of all) this.#addFullNames(image);
    for (const image of all) this.#addShortName(image);
  }

  /** References that share repository path and tag with an image of another registry. Clients find them by their full names only. */
  get ambiguous(): string[] {
    return [...this.#ambiguous];
  }

  has(repository: string): boolean {
    return this.#repositories.has(repository);
  }

  repositories(page: Page): string[] {
    return takePage([...this.#repositories.keys()].filter(isRepositoryPath), page);
  }

  tags(repository: string, page: Page): string[] | undefined {
    const tags = this.#repositories.get(repository);
    if (tags === undefined) return undefined;
    const found = [...tags].filter(([, { owner }]) => owner !== undefined).map(([tag]) => tag);
    return takePage(found, page);
  }

  resolveTag(repository: string, tag: string): Digest | undefined {
    const tagged = this.#repositories.get(repository)?.get(tag);
    return tagged?.owner === undefined ? undefined : tagged.digest;
  }

  /** Returns the repository of exactly this registry, even if other registries have the same path. */
  mirror(registry: string, repository: string): string | undefined {
    const host = dockerHubNames.includes(registry) ? 'docker.io' : registry;
    const prefixes = [`${host}/`, `${registryAsPath(host)}/`];
    const isFull = prefixes.some((prefix) => repository.startsWith(prefix));
    const names = [`${host}/${repository}`, ...(isFull ? [repository] : [])];
    return names.find((name) => this.#repositories.has(name));
  }

  #tagsOf(repository: string): Map<string, Tagged> {
    const tags = this.#repositories.get(repository) ?? new Map<string, Tagged>();
    this.#repositories.set(repository, tags);
    return tags;
  }

  /** A repository path cannot contain a registry with a port: the second name replaces its colon. */
  #addFullNames({ reference, root }: Image): void {
    const { registry, repository, tag } = reference;
    for (const name of new Set([formatRepository(reference), `${registryAsPath(registry)}/${repository}`])) {
      const tags = this.#tagsOf(name);
      // `name:tag` wins over `name:tag@digest`, whose tag is informative only.
      if (tag !== undefined && !tags.has(tag)) tags.set(tag, { digest: root.digest, owner: reference });
    }
  }

  #addShortName({ reference, root }: Image): void {
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
}

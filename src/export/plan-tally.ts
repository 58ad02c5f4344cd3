import { subjectOfTag } from '../oci/companion-tag.js';
import type { BlobNode, ManifestNode, PlanSink } from '../plan/graph.js';
import type { Digest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import type { PlannedImage } from '../plan/planner.js';

/** What one image comes to. */
export interface TalliedImage {
  readonly image: string;
  readonly digest: Digest;
  /** Sorted. */
  readonly platforms: readonly string[];
  /** Bytes of all that belongs to it. */
  readonly bytes: number;
  /** Bytes of that which no image before it in the list has. */
  readonly newBytes: number;
  /** The digest that a signature under a tag belongs to. */
  readonly companionOf?: Digest | undefined;
}

interface Node {
  readonly size: number;
  readonly platform?: string | undefined;
  readonly children: readonly Digest[];
}

const none: readonly Digest[] = [];

/** A plan that is only counted. Memory holds a digest and a number for each blob. */
export class PlanTally implements PlanSink {
  readonly #nodes = new Map<Digest, Node>();
  /** Blobs whose content planning did not read, by the registry that they come from. */
  readonly #toFetch = new Map<string, number>();
  #leftOut = 0;

  has(digest: Digest): boolean {
    return this.#nodes.has(digest);
  }

  addBlob({ repository, descriptor, bytes }: BlobNode): void {
    this.#nodes.set(descriptor.digest, { size: descriptor.size, children: none });
    if (bytes !== undefined) return;
    this.#toFetch.set(repository.registry, (this.#toFetch.get(repository.registry) ?? 0) + 1);
  }

  leaveOut(): void {
    this.#leftOut++;
  }

  addManifest({ descriptor, edges, platform }: ManifestNode): void {
    this.#nodes.set(descriptor.digest, {
      size: descriptor.size,
      platform: platform === undefined ? undefined : formatPlatform(platform),
      children: edges.filter(({ role }) => role !== 'subject').map(({ child }) => child),
    });
  }

  get blobs(): number {
    return this.#nodes.size;
  }

  get bytes(): number {
    let bytes = 0;
    for (const { size } of this.#nodes.values()) bytes += size;
    return bytes;
  }

  /** Foreign layers of which only the descriptors are taken. */
  get foreign(): number {
    return this.#leftOut;
  }

  /** How many blobs would be fetched from a registry. */
  toFetch(registry: string): number {
    return this.#toFetch.get(registry) ?? 0;
  }

  /** What each image comes to, in this order: who comes first is the one that content is new for. */
  *images(planned: Iterable<PlannedImage>): Generator<TalliedImage> {
    const counted = new Set<Digest>();
    for (const image of planned) {
      const platforms = new Set<string>();
      const own = new Set<Digest>([image.root.digest, ...(image.referrers ?? [])]);
      // A set grows while it is walked.
      for (const digest of own) for (const child of this.#nodes.get(digest)?.children ?? none) own.add(child);
      // Of the publisher's index beside a filtered one only its own bytes are taken.
      if (image.original !== undefined) own.add(image.original.digest);
      let bytes = 0;
      let newBytes = 0;
      for (const digest of own) {
        const { size = 0, platform } = this.#nodes.get(digest) ?? {};
        if (platform !== undefined) platforms.add(platform);
        bytes += size;
        if (!counted.has(digest)) newBytes += size;
        counted.add(digest);
      }
      const { reference, root } = image;
      yield {
        ...{ image: formatReference(reference), digest: root.digest, platforms: [...platforms].sort() },
        ...{ bytes, newBytes, companionOf: subjectOfTag(reference.tag) },
      };
    }
  }
}

import { subjectOfTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import type { BlobNode, ManifestNode, PlanSink, PlannedImage } from '../plan/planner.js';

/** Platforms and size of one image. */
export interface TalliedImage {
  readonly image: string;
  readonly digest: Digest;
  /** Sorted. */
  readonly platforms: readonly string[];
  /** Bytes of all blobs that belong to it. */
  readonly bytes: number;
  /** Bytes of these blobs that belong to no earlier image of the list. */
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

/** A plan that is only counted. It holds a digest and a number for each blob in memory. */
export class PlanTally implements PlanSink {
  readonly #nodes = new Map<Digest, Node>();
  /** Numbers of blobs that planning did not fetch, by registry. */
  readonly #toDownload = new Map<string, number>();
  #leftOut = 0;

  has(digest: Digest): boolean {
    return this.#nodes.has(digest);
  }

  addBlob({ repository, descriptor, bytes }: BlobNode): void {
    this.#nodes.set(descriptor.digest, { size: descriptor.size, children: none });
    if (bytes !== undefined) return;
    this.#toDownload.set(repository.registry, this.blobsToDownload(repository.registry) + 1);
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

  /** Number of foreign layers of which only the descriptors are included. */
  get foreign(): number {
    return this.#leftOut;
  }

  /** Number of blobs that an export would download from a registry after planning. */
  blobsToDownload(registry: string): number {
    return this.#toDownload.get(registry) ?? 0;
  }

  /** Yields the tally of each image, in this order: shared content is new for the first image that needs it. */
  *images(planned: Iterable<PlannedImage>): Generator<TalliedImage> {
    const counted = new Set<Digest>();
    for (const image of planned) {
      const platforms = new Set<string>();
      const own = new Set<Digest>([image.root.digest, ...(image.referrers ?? [])]);
      // The loop also visits the digests that it adds to the set.
      for (const digest of own) for (const child of this.#nodes.get(digest)?.children ?? none) own.add(child);
      // The publisher's index beside a filtered one is included without its children.
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
        image: formatReference(reference),
        digest: root.digest,
        platforms: [...platforms].sort(),
        bytes,
        newBytes,
        companionOf: subjectOfTag(reference.tag),
      };
    }
  }
}

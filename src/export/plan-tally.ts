import { subjectOfTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import { formatReference, formatRepository, type Repository } from '../oci/reference.js';
import type { BlobNode, BlobRole, ManifestNode, PlanSink, PlannedImage } from '../plan/planner.js';
import type { DeltaPlan } from './apply-bases.js';

/** Platforms and size of one image. */
export interface TalliedImage {
  readonly image: string;
  readonly digest: Digest;
  /** Sorted. */
  readonly platforms: readonly string[];
  /** Bytes of all blobs that belong to it. */
  readonly bytes: number;
  /** Bytes of these blobs that belong to no earlier image of the list, without layers that a base has. */
  readonly newBytes: number;
  /** The digest that a signature under a tag belongs to. */
  readonly companionOf?: Digest | undefined;
}

interface Node {
  readonly size: number;
  /** Undefined for manifests and indexes. */
  readonly role?: BlobRole | undefined;
  /** The registry to download it from, unless planning fetched it. */
  readonly registry?: string | undefined;
  readonly platform?: string | undefined;
  readonly children: readonly Digest[];
}

const none: readonly Digest[] = [];

/** A plan that is only counted. It holds a digest and a number for each blob in memory. */
export class PlanTally implements PlanSink {
  readonly #nodes = new Map<Digest, Node>();
  /** Numbers of blobs that planning did not fetch, by registry. */
  readonly #toDownload = new Map<string, number>();
  readonly #repositories = new Map<string, Repository>();
  readonly #inBase = new Set<Digest>();
  #foreign = 0;

  has(digest: Digest): boolean {
    return this.#nodes.has(digest);
  }

  addBlob({ repository, descriptor, bytes, role }: BlobNode): void {
    const { registry } = repository;
    const { digest, size } = descriptor;
    this.#repositories.set(formatRepository(repository), { registry, repository: repository.repository });
    this.#nodes.set(digest, {
      size,
      role,
      registry: bytes === undefined ? registry : undefined,
      children: none,
    });
    if (bytes === undefined) this.#toDownload.set(registry, this.blobsToDownload(registry) + 1);
  }

  leaveOut(): void {
    this.#foreign++;
  }

  addManifest({ descriptor, edges, platform }: ManifestNode): void {
    this.#nodes.set(descriptor.digest, {
      size: descriptor.size,
      platform: platform === undefined ? undefined : formatPlatform(platform),
      children: edges.filter(({ role }) => role !== 'subject').map(({ child }) => child),
    });
  }

  /** Leaves layers out of the count that the base of a delta has. */
  readonly delta: DeltaPlan = {
    // The base is named in a bundle, not in a count.
    add: () => undefined,
    leaveOut: (digest) => this.#leaveOutLayer(digest),
    isLayer: (digest) => this.#nodes.get(digest)?.role === 'layer',
    layersOf: (manifest) => {
      const node = this.#nodes.get(manifest);
      return node === undefined || node.role !== undefined ? undefined : node.children;
    },
    repositories: () => [...this.#repositories.values()],
  };

  #leaveOutLayer(digest: Digest): void {
    const { role, registry } = this.#nodes.get(digest) ?? {};
    if (role !== 'layer' || this.#inBase.has(digest)) return;
    this.#inBase.add(digest);
    if (registry !== undefined) this.#toDownload.set(registry, this.blobsToDownload(registry) - 1);
  }

  /** Number and bytes of the blobs that the bundle carries. */
  get carried(): { readonly blobs: number; readonly bytes: number } {
    const all = this.#sum(this.#nodes.keys());
    const { blobs, bytes } = this.leftOut;
    return { blobs: all.blobs - blobs, bytes: all.bytes - bytes };
  }

  /** Number and bytes of the layers that the base has. */
  get leftOut(): { readonly blobs: number; readonly bytes: number } {
    return this.#sum(this.#inBase);
  }

  #sum(digests: Iterable<Digest>): { blobs: number; bytes: number } {
    const sum = { blobs: 0, bytes: 0 };
    for (const digest of digests) {
      sum.blobs++;
      sum.bytes += this.#nodes.get(digest)?.size ?? 0;
    }
    return sum;
  }

  /** Number of foreign layers of which only the descriptors are included. */
  get foreign(): number {
    return this.#foreign;
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
        if (!counted.has(digest) && !this.#inBase.has(digest)) newBytes += size;
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

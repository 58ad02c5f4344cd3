import { ImageSizes, type PlatformSize } from './bundle/format/image-sizes.js';
import { BundleReader } from './bundle/reader.js';
import type { Digest } from './oci/digest.js';
import { formatReference } from './oci/reference.js';

export interface InspectedImage {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** The digest of its publisher's index, where some platforms of that were left out. */
  readonly original?: Digest | undefined;
  /** The manifest that this belongs to, where it came along as a signature or the like. */
  readonly companionOf?: Digest | undefined;
  /** Signatures or other referrers belong to the publisher's index, where some platforms of that were left out. */
  readonly hasReferrers?: boolean | undefined;
  readonly platforms: readonly PlatformSize[];
  /** Bytes of all that belongs to it, each blob once. */
  readonly size: number;
}

/** What is in a bundle; plain data. */
export interface Inspection {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** When it was made, as its maker says (RFC 3339, UTC). */
  readonly created: string;
  /** Sorted by reference. */
  readonly images: readonly InspectedImage[];
  /** Manifests and indexes. */
  readonly manifests: number;
  /** All blobs, manifests included, each once. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Blobs that the bundle names but does not carry. */
  readonly leftOut: number;
  readonly leftOutBytes: number;
  /** Bytes that the images would take more if none shared a blob with another. */
  readonly sharedBytes: number;
}

/**
 * Looks into a bundle. Only the head of the file is read: what is said is what the bundle says of itself, `verify` proves it.
 * @throws AirliftError `input` where the file is no bundle, `damaged` where its head is, `unsupported`, `io`
 */
export async function inspect(path: string): Promise<Inspection> {
  const reader = await BundleReader.open(path);
  try {
    const sizes = new ImageSizes(reader.catalog);
    const { manifests, blobs, blobBytes, leftOut, leftOutBytes } = reader.counts();
    const images: InspectedImage[] = [];
    for (const { reference, root, original, companionOf } of reader.images()) {
      const name = formatReference(reference);
      images.push({
        reference: name,
        digest: root.digest,
        mediaType: root.mediaType,
        original: original?.digest,
        companionOf,
        ...(original !== undefined && { hasReferrers: reader.catalog.referrers(original.digest).length > 0 }),
        platforms: sizes.platforms(name),
        size: sizes.image(name),
      });
    }
    return {
      bundle: path,
      size: reader.size,
      created: reader.created.toISOString().replace('.000Z', 'Z'),
      images,
      manifests,
      blobs,
      blobBytes,
      leftOut,
      leftOutBytes,
      sharedBytes: Math.max(0, images.reduce((sum, { size }) => sum + size, 0) - blobBytes - leftOutBytes),
    };
  } finally {
    await reader.close();
  }
}

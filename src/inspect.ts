import { formatTime } from './oci/time.js';
import { ImageSizes } from './bundle/format/image-sizes.js';
import type { BundlePart } from './bundle/format/part.js';
import type { PlatformSize } from './bundle/report.js';
import { BundleReader } from './bundle/reader.js';
import type { DeltaReport } from './bundle/verify/check-base.js';
import { signaturesOf } from './bundle/verify/check-signatures.js';
import type { Digest } from './oci/digest.js';
import { formatReference } from './oci/reference.js';
import type { SignatureReport } from './signing/signatures.js';

export interface InspectedImage {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** Digest of the publisher's index, if some of its platforms are left out. */
  readonly original?: Digest | undefined;
  /** The manifest that this image belongs to, if it is a signature or the like under one of cosign's tags. */
  readonly companionOf?: Digest | undefined;
  /** True if signatures or other referrers belong to the publisher's index; undefined unless some of its platforms are left out. */
  readonly hasReferrers?: boolean | undefined;
  readonly platforms: readonly PlatformSize[];
  /** Bytes of everything that belongs to it, each blob once. */
  readonly size: number;
}

/** The contents of a bundle; plain data. */
export interface Inspection {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** The creation time that the bundle states (RFC 3339, UTC). */
  readonly created: string;
  /** Sorted by reference. */
  readonly images: readonly InspectedImage[];
  /** Number of manifests and indexes. */
  readonly manifests: number;
  /** Number of blobs, manifests included, each once. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Number of blobs that the bundle names but does not carry. */
  readonly leftOut: number;
  readonly leftOutBytes: number;
  /** If it is a delta: what it was made against, and the layers that it leaves out and expects at the site. */
  readonly delta?: Pick<DeltaReport, 'bases' | 'blobs' | 'bytes'> | undefined;
  /** Bytes saved because images share blobs. */
  readonly sharedBytes: number;
  /** Its place in a set of parts, if it is one. */
  readonly part?: BundlePart | undefined;
  /** The signatures of the bundle, inside it and in files beside it; not checked. */
  readonly signedBy: readonly SignatureReport[];
}

/** Options of `inspect`. */
export interface InspectOptions {
  /** Directories that hold volumes of the bundle, besides the one of its path. */
  readonly volumeDirs?: readonly string[] | undefined;
}

/**
 * Reads the contents of a bundle from the head of the file, without verifying the blobs; `verify` does that.
 * @throws AirliftError `input` if the file is not a bundle, `damaged` if its head is damaged, `unsupported`, `io`
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const { volumeDirs = [] } = options;
  const reader = await BundleReader.open({ path, volumeDirs });
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
      created: formatTime(reader.created),
      images,
      manifests,
      blobs,
      blobBytes,
      leftOut,
      leftOutBytes,
      delta: reader.catalog.isDelta
        ? { bases: reader.catalog.bases(), ...reader.catalog.baseTotals() }
        : undefined,
      part: reader.catalog.part,
      signedBy: await signaturesOf(reader.file, reader.head, path, []),
      sharedBytes: Math.max(0, images.reduce((sum, { size }) => sum + size, 0) - blobBytes - leftOutBytes),
    };
  } finally {
    await reader.close();
  }
}

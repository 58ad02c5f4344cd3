import type { ByteRange } from '../../io/byte-range.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Json } from '../../oci/index-child.js';
import type { Source } from '../../oci/source.js';
import type { PlatformSubject } from '../platform/platform-finder.js';
import type { PlatformFinding } from '../platform/decide-platform.js';

/** The shape of an archive, detected by its content. */
export type ArchiveShape = 'docker-archive' | 'oci-layout';

/** A manifest of an image that the archive holds completely: with its config and all its layers. */
export interface ArchiveChild {
  readonly descriptor: Descriptor;
  /** Its entry in the index that lists it, with all fields; undefined where no index does. */
  readonly entry: Json | undefined;
  /** Digest of its config. Manifests with the same config are the same image, whatever the compression of the layers. */
  readonly config: Digest | undefined;
  /** Whether the manifest was created here because the archive has none. */
  readonly isMade: boolean;
  /** Foreign layers that the archive does not hold, which is no error: they are available at their `urls`. */
  readonly absent: readonly Digest[];
  /** Whether it is a runnable image: no attestation, signature or other artifact. */
  readonly isRunnable: boolean;
  /** Its platform; undefined where it is not a runnable image, or nothing shows the platform. */
  readonly platform: PlatformFinding | undefined;
}

/** An image of an archive. */
export interface ArchiveImage {
  /** Full references; empty where the archive has no name for it. */
  readonly names: readonly string[];
  /** A tag without a repository, if the archive states no more. */
  readonly tag: string | undefined;
  /** For cosign's signatures, attestations and SBOMs, whose tag contains the digest of an image: that digest. */
  readonly companionOf?: Digest | undefined;
  /** The image's index or manifest. */
  readonly root: Descriptor;
  /** The complete manifests below the root (or the root itself), in the order of their indexes. */
  readonly children: readonly ArchiveChild[];
  /** Manifests and indexes below the root that are missing or incomplete. */
  readonly missing: readonly Descriptor[];
  /** Whether the root is an index with indexes as children. */
  readonly isNested: boolean;
  /** The archive's path in messages. */
  readonly file: string;
}

/** An open archive. */
export interface Archive extends Source {
  readonly shape: ArchiveShape;
  /** The archive's path in messages. */
  readonly file: string;
  /** Lists the images, each root once. */
  images(): AsyncIterable<ArchiveImage>;
  /** Reports whether the archive holds the content. */
  holds(descriptor: Descriptor): Promise<boolean>;
  /** Returns content for random access while the archive is open; undefined where the archive does not hold it. */
  find(descriptor: Descriptor): Promise<ByteRange | undefined>;
  /** Closes the archive and removes its temporary files. */
  close(): Promise<void>;
}

/** An image as found by a shape's reader, before its platforms are determined. */
export interface FoundImage extends Omit<ArchiveImage, 'children' | 'file'> {
  readonly children: readonly FoundChild[];
}

/** A child as found by a shape's reader. */
export interface FoundChild extends Omit<ArchiveChild, 'platform' | 'isRunnable'>, PlatformSubject {}

/** A layer that can be published before the archive is read to its end. */
export interface ReadyLayer {
  /** Full references of the image that contains it; empty where the archive has no name for it. */
  readonly names: readonly string[];
  readonly descriptor: Descriptor;
  /** Opens its content while the archive is open; may have to compress it first. */
  readonly open: () => Promise<ByteRange | undefined>;
}

/** Reads the images of archives of one shape. */
export interface ShapeReader {
  images(): AsyncIterable<FoundImage>;
  holds(descriptor: Descriptor): Promise<boolean>;
  /** @returns undefined where the archive does not hold the content */
  find(descriptor: Descriptor): Promise<ByteRange | undefined>;
  referrers(digest: Digest): AsyncIterable<Descriptor>;
  close(): Promise<void>;
}

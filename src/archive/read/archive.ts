import type { Readable } from 'node:stream';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Json } from '../../oci/index-child.js';
import type { Source } from '../../oci/source.js';
import type { PlatformSubject } from '../platform/platform-finder.js';
import type { PlatformFinding } from '../platform/decide-platform.js';

/** What an archive is, told by what is in it. */
export type ArchiveShape = 'docker-archive' | 'oci-layout';

/** A manifest of an archive's image that the archive holds in full: the manifest, its config and all its layers. */
export interface ArchiveChild {
  readonly descriptor: Descriptor;
  /** Its entry in the index that names it, every field of it; undefined where no index does. */
  readonly entry: Json | undefined;
  /** Digest of its config: the same one is the same image, however its layers are packed. */
  readonly config: Digest | undefined;
  /** Whether the manifest was made here, because the archive has none. */
  readonly isMade: boolean;
  /** Foreign layers that are not there, which is no fault: they are to be had at their `urls`. */
  readonly absent: readonly Digest[];
  /** Whether it is an image to run: no attestation, no signature and no other artifact. */
  readonly isRunnable: boolean;
  /** What is known of its platform; undefined where it is no image to run, or nothing says what it runs on. */
  readonly platform: PlatformFinding | undefined;
}

/** One image of an archive. */
export interface ArchiveImage {
  /** Full references; none where the archive names none. */
  readonly names: readonly string[];
  /** A tag without a repository, where that is all the archive says. */
  readonly tag: string | undefined;
  /** Of cosign's signatures, attestations and SBOMs, which stand beside an image under a tag made of its digest: that digest. */
  readonly companionOf?: Digest | undefined;
  /** What the archive says the image is: an index or a manifest, its bytes as they are held. */
  readonly root: Descriptor;
  /** The manifests below the root that are there in full (the root itself where it is one), in the order of their indexes. */
  readonly children: readonly ArchiveChild[];
  /** Manifests and indexes below the root that are not there, or not in full. */
  readonly missing: readonly Descriptor[];
  /** Whether the root is an index whose children are indexes again. */
  readonly isNested: boolean;
  /** The archive, for messages. */
  readonly file: string;
}

/** An archive that is open for reading. */
export interface Archive extends Source {
  readonly shape: ArchiveShape;
  /** The archive's path, for messages. */
  readonly file: string;
  /** The images, each root once. */
  images(): AsyncIterable<ArchiveImage>;
  /** Whether the archive holds the content. */
  holds(descriptor: Descriptor): Promise<boolean>;
  /** Lets go of the archive and of what was unpacked for it. */
  close(): Promise<void>;
}

/** An image as a reader of one shape finds it, before its platforms are looked into. */
export interface FoundImage extends Omit<ArchiveImage, 'children' | 'file'> {
  readonly children: readonly FoundChild[];
}

/** A child as a reader of one shape finds it. */
export interface FoundChild extends Omit<ArchiveChild, 'platform' | 'isRunnable'>, PlatformSubject {}

/** Reads the images of archives of one shape. */
export interface ShapeReader {
  images(): AsyncIterable<FoundImage>;
  holds(descriptor: Descriptor): Promise<boolean>;
  /** @returns undefined where the archive does not hold the content */
  open(descriptor: Descriptor, offset: number): Promise<Readable | undefined>;
  referrers(digest: Digest): AsyncIterable<Descriptor>;
  close(): Promise<void>;
}

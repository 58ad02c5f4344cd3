/** Plain data about bundles: what inspecting and verifying report. */
import type { Digest } from '../oci/digest.js';

/** The manifest of one platform of an image. */
export interface PlatformSize {
  /** `os/architecture[/variant]`. */
  readonly platform: string;
  readonly digest: Digest;
  /** Bytes of its manifest, config and layers, each blob once, including blobs that the bundle leaves out. */
  readonly size: number;
}

/** The blobs that the same number of images use. */
export interface SharedBytes {
  readonly images: number;
  readonly blobs: number;
  readonly bytes: number;
}

/**
 * Kind of a problem in a bundle:
 *
 * - `header`: a tar header is damaged or was rewritten · `missing`: a blob is missing or truncated
 * - `digest`: content does not match its digest · `moved`: an entry is not where the catalog says
 * - `extra`: an entry that the bundle format does not have, or data after the end of the archive
 * - `catalog`, `index`, `layout`, `sums`: the catalog, `index.json`, `oci-layout`, a list of digests is wrong
 * - `signature`: a signature is malformed, or none of the given keys has signed the bundle
 * - `volume`: a volume is missing or damaged
 * - `manifest`: a manifest cannot be parsed · `edge`: a manifest and its children, or the catalog, disagree
 * - `layer`: a layer cannot be unpacked, has an entry that leaves the root, or unpacks to other content than the config states
 */
export type ProblemKind =
  | 'header'
  | 'missing'
  | 'digest'
  | 'moved'
  | 'extra'
  | 'catalog'
  | 'index'
  | 'layout'
  | 'sums'
  | 'signature'
  | 'volume'
  | 'manifest'
  | 'edge'
  | 'layer';

/** An image that a problem affects, and its affected platforms; none if the affected content belongs to no platform. */
export interface BrokenImage {
  readonly reference: string;
  readonly platforms: readonly string[];
}

export interface Problem {
  readonly kind: ProblemKind;
  /** The entry, blob or file that has the problem. */
  readonly thing: string;
  readonly detail: string;
  /** The affected images; empty if no image depends on the damaged content. */
  readonly images: readonly BrokenImage[];
}

/** Progress of hashing the blobs. */
export interface CheckProgress {
  readonly blobs: number;
  readonly bytes: number;
  readonly totalBlobs: number;
  readonly totalBytes: number;
}

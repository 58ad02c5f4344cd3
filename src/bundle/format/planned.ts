import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Platform } from '../../oci/platform.js';
import type { Repository } from '../../oci/reference.js';

/** What a blob is to the image it belongs to. Content that is several is counted as the first of these. */
export type BlobKind = 'index' | 'manifest' | 'config' | 'layer';

/**
 * How a parent names a child: a child of an index, a config, a layer; `subject` from a referrer up to what it refers to;
 * `original` from a filtered index to the one it was made from.
 */
export type EdgeRole = 'manifest' | 'config' | 'layer' | 'subject' | 'original';

/** Why a blob of the plan is not in the bundle: the site has it already (delta), or its publisher forbids to carry it. */
export type LeftOut = 'base' | 'foreign';

/** A manifest or index of the plan. */
export interface ManifestNode {
  readonly descriptor: Descriptor;
  /** As they came; kept in the journal until written. */
  readonly bytes: Uint8Array;
  readonly platform?: Platform | undefined;
  readonly artifactType?: string | undefined;
  readonly subject?: Digest | undefined;
}

/** A config or layer of the plan. */
export interface BlobNode {
  readonly descriptor: Descriptor;
  readonly role: 'config' | 'layer';
  /** Where a transfer may fetch it from. */
  readonly repository: Repository;
  /** The content, where it was fetched already. */
  readonly bytes?: Uint8Array | undefined;
}

/** How far a blob is. */
export interface Mark {
  readonly digest: Digest;
  /** Its first bytes that are written. */
  readonly have: number;
  /** sha256 or sha512 of them, by the blob's own algorithm; unknown for what was found without a journal. */
  readonly checkpoint?: Uint8Array | undefined;
  /** No mark of this run stands before it: what is noted of bytes behind it no longer holds. */
  readonly isFirst?: boolean | undefined;
  /** All of it is written, and its digest was found right. */
  readonly done: boolean;
}

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

/** An edge of the plan: a manifest or index names `child` as its `position`th child of that role, from 0. */
export interface PlannedEdge {
  readonly child: Digest;
  readonly role: EdgeRole;
  readonly position: number;
}

/** A manifest or index of the plan. */
export interface PlannedManifest {
  readonly descriptor: Descriptor;
  /** The registry's bytes; the journal keeps them until they are written to the file. */
  readonly bytes: Uint8Array;
  readonly manifest: {
    readonly artifactType?: string | undefined;
    readonly subject?: { readonly digest: Digest } | undefined;
  };
  /** Edges to its children, which may be added before or after it. */
  readonly edges: readonly PlannedEdge[];
  readonly platform?: Platform | undefined;
}

/** A config or layer of the plan. */
export interface PlannedBlob {
  readonly descriptor: Descriptor;
  readonly role: 'config' | 'layer';
  /** The repository to download it from. */
  readonly repository: Repository;
  /** The content, if planning has already fetched it. */
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

import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Platform } from '../../oci/platform.js';
import type { Repository } from '../../oci/reference.js';

/** A blob's role in its image. Content with several roles has the first of these. */
export type BlobKind = 'index' | 'manifest' | 'config' | 'layer';

/**
 * The role in which a parent names a child: `manifest` for a child of an index, `config`, `layer`; `subject` leads from a referrer to its
 * subject.
 */
export type EdgeRole = 'manifest' | 'config' | 'layer' | 'subject';

/** Reason why the bundle does not carry a blob: the site already has it (delta), or its publisher forbids redistribution. */
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

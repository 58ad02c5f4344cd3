import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Index, Manifest } from '../oci/manifest.js';
import type { Platform } from '../oci/platform.js';
import type { Repository } from '../oci/reference.js';

export type BlobRole = 'config' | 'layer';
export type EdgeRole = 'manifest' | BlobRole | 'subject';

/** One line of the graph: `parent` names `child`, as its `position`th of that role. */
export interface Edge {
  readonly child: Digest;
  readonly role: EdgeRole;
  readonly position: number;
}

/** A manifest or index of the plan, with its bytes as they came. */
export interface ManifestNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
  readonly edges: readonly Edge[];
  /** Of an image: what its index entry says, else its config. */
  readonly platform: Platform | undefined;
  /** A publisher's index beside its filtered copy: not all that it names is part of the plan. */
  readonly isOriginal?: boolean | undefined;
}

/** A config or layer of the plan, with its bytes where planning had to read them. */
export interface BlobNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly role: BlobRole;
  readonly bytes: Buffer | undefined;
}

/** Receives the plan: every digest once, children before parents. */
export interface PlanSink {
  /** Reports whether the blob was added. */
  has(digest: Digest): boolean;
  addBlob(node: BlobNode): void;
  /** Records a blob that a manifest names but that is not carried: a foreign layer of which only the descriptor is kept. */
  leaveOut?(node: BlobNode): void;
  /**
   * Adds a manifest or index. A publisher's index may be added twice: beside its filtered copy, where its edges lead to children that
   * are not carried, and again when another image needs all of it.
   */
  addManifest(node: ManifestNode): void;
}

/** The edges from a manifest or index to what it names. */
export function edgesOf(manifest: Manifest | Index): Edge[] {
  const edges: Edge[] = [];
  const add = (role: EdgeRole, children: readonly Descriptor[]): void => {
    for (const [position, { digest }] of children.entries()) edges.push({ child: digest, role, position });
  };
  if (manifest.kind === 'index') {
    add('manifest', manifest.manifests);
  } else {
    if (manifest.config !== undefined) add('config', [manifest.config]);
    add('layer', manifest.layers);
  }
  if (manifest.subject !== undefined) add('subject', [manifest.subject]);
  return edges;
}

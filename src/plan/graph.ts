import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Index, Manifest } from '../oci/manifest.js';
import type { Platform } from '../oci/platform.js';
import type { Repository } from '../oci/reference.js';

export type BlobRole = 'config' | 'layer';
export type EdgeRole = 'manifest' | BlobRole | 'subject';

/** An edge of the graph to `child`, the `position`th child with this role. */
export interface Edge {
  readonly child: Digest;
  readonly role: EdgeRole;
  readonly position: number;
}

/** A manifest or index of the plan, with its original bytes. */
export interface ManifestNode {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
  readonly edges: readonly Edge[];
  /** The platform of an image: from its index entry, else from its config. */
  readonly platform: Platform | undefined;
  /** Set for a publisher's index that is planned with its filtered copy: some of its children are not planned. */
  readonly isOriginal?: boolean | undefined;
}

/** A config or layer of the plan, with its bytes if planning read them. */
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
  /** Records a blob that a manifest lists and the plan leaves out: a foreign layer of which only the descriptor is kept. */
  leaveOut?(node: BlobNode): void;
  /**
   * Adds a manifest or index. A publisher's index may be added twice: with its filtered copy, when its edges lead to children that
   * are not planned, and again when another image includes all of it.
   */
  addManifest(node: ManifestNode): void;
}

/** Returns the edges from a manifest or index to its children and its subject. */
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

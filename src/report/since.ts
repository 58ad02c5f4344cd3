import { compareSince, heldBy, type DiffOptions, type ImageChange, type Since } from '../diff.js';
import type { DeltaBase } from '../bundle/format/delta.js';
import type { Digest } from '../oci/digest.js';
import { isAttachedTag } from './attached-tag.js';
import { closeBases, openBases, type Base, type CatalogBase } from '../receipts/open-base.js';

/** What is new since earlier bundles or receipts. */
export interface ReportedSince extends Since {
  /** Changes of images; signatures under tags of cosign are not among them. */
  readonly changes: readonly ImageChange[];
  /** Number of changed signatures, attestations and SBOMs under tags of cosign. */
  readonly companions: number;
}

/** A blob that a delta leaves out. */
export interface LeftOutBlob {
  readonly digest: Digest;
  readonly size: number;
  /** The first images that need it, at most 20. */
  readonly images: readonly string[];
  /** The given base that has it; undefined if none has, or no base was given. */
  readonly base?: string | undefined;
}

/** What a delta leaves out, and what it was made against. */
export interface ReportedDelta {
  readonly bases: readonly DeltaBase[];
  readonly blobs: number;
  readonly bytes: number;
  /** The first blobs by digest, at most 100,000. */
  readonly leftOut: readonly LeftOutBlob[];
  /** Whether bases were given to look for these blobs. */
  readonly isCompared: boolean;
}

const maxLeftOut = 100_000;
const maxImages = 20;

/** Opens bases, and closes them after use. */
export async function withBases<T>(
  paths: readonly string[],
  use: (bases: readonly Base[]) => Promise<T>,
): Promise<T> {
  const bases = await openBases(paths);
  try {
    return await use(bases);
  } finally {
    await closeBases(bases);
  }
}

/** Finds what is new; changes of signatures under tags are only counted, as they are no images of the report. */
export async function sinceBases(
  bases: readonly Base[],
  to: Base,
  options: DiffOptions,
): Promise<ReportedSince> {
  const since = await compareSince(bases, to, options);
  const isCompanion = ({ image }: ImageChange): boolean =>
    isAttachedTag(image.slice(image.lastIndexOf(':') + 1));
  const changes = since.changes.filter((change) => !isCompanion(change));
  return { ...since, changes, companions: since.changes.length - changes.length };
}

/** Lists what a delta leaves out; undefined for a bundle that carries all of its layers. */
export async function deltaOf(
  delta: CatalogBase,
  bases: readonly Base[],
): Promise<ReportedDelta | undefined> {
  const { catalog } = delta;
  if (!catalog.isDelta) return undefined;
  const held: { readonly path: string; readonly has: (digest: Digest) => boolean }[] = [];
  for (const base of bases) {
    const found = await heldBy(base, delta);
    held.push({ path: base.path, has: (digest) => found.has(digest) });
  }
  const leftOut: LeftOutBlob[] = [];
  // Other queries cannot run while these rows are read.
  for (const { digest, size } of firstOf(catalog.baseBlobs(), maxLeftOut)) {
    const base = held.find(({ has }) => has(digest))?.path;
    leftOut.push({ digest, size, images: catalog.imagesWith(digest, maxImages), base });
  }
  return { bases: catalog.bases(), ...catalog.baseTotals(), leftOut, isCompared: bases.length > 0 };
}

function firstOf<T>(items: Iterable<T>, most: number): T[] {
  const list: T[] = [];
  for (const item of items) {
    if (list.length >= most) break;
    list.push(item);
  }
  return list;
}

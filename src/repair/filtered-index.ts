import type { Catalog } from '../bundle/format/catalog.js';
import type { BundleFile } from '../bundle/format/file.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../oci/digest.js';
import { filterIndex } from '../oci/filter.js';
import { maxManifestSize } from '../oci/manifest.js';

/**
 * Makes a filtered index again, from the publisher's index beside it: no registry has it but the one that it was imported to.
 * @param start where the blobs begin in the file
 * @returns undefined if the blob is no such index, or the publisher's index is damaged, too
 */
export async function rebuildFilteredIndex(
  file: BundleFile,
  start: number,
  catalog: Catalog,
  digest: Digest,
): Promise<Buffer | undefined> {
  const original = originalOf(catalog, digest);
  const offset = original === undefined ? undefined : catalog.blob(original.digest)?.offset;
  if (original === undefined || offset === undefined || original.size > maxManifestSize) return undefined;
  const bytes = await file.read(start + offset, original.size);
  if (digestOf(bytes, algorithmOf(original.digest)) !== original.digest) return undefined;
  const kept = childrenOf(catalog, digest);
  const filtered = filterIndex(bytes, original, (child) => kept.get(child));
  return digestOf(filtered.bytes, algorithmOf(digest)) === digest ? filtered.bytes : undefined;
}

/** Returns the publisher's index of a filtered one. */
function originalOf(catalog: Catalog, digest: Digest): Descriptor | undefined {
  for (const { root, original } of catalog.images()) if (root.digest === digest) return original;
  return undefined;
}

/** Returns the children of an index by digest, as the catalog lists them. */
function childrenOf(catalog: Catalog, digest: Digest): Map<string, Pick<Descriptor, 'digest' | 'size'>> {
  let parent: number | undefined;
  for (const row of catalog.manifestRows()) if (row.digest === digest) parent = row.id;
  const ids = new Set<number>();
  for (const edge of catalog.edges())
    if (edge.parent === parent && edge.role === 'manifest') ids.add(edge.child);
  const children = new Map<string, Pick<Descriptor, 'digest' | 'size'>>();
  for (const { id, digest, size } of catalog.manifestRows())
    if (ids.has(id)) children.set(digest, { digest, size });
  return children;
}

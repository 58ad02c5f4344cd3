import { isDigest, algorithmOf, hexOf, type Digest } from '../../oci/digest.js';

/** Version of the bundle's format, kept in the catalog's `user_version`. Readers refuse a newer one. */
export const formatVersion = 1;

/** The catalog's `application_id`: "arlf" in ASCII, so that `file` and sqlite3 can tell it from other databases. */
export const applicationId = 0x61726c66;

/** Names of the entries before the first blob, in the order in which they stand. */
export const entryNames = {
  layout: 'oci-layout',
  index: 'index.json',
  catalog: 'airlift/catalog.db',
  sha512sums: 'airlift/SHA512SUMS',
  sha256sums: 'airlift/SHA256SUMS',
  signature: 'airlift/SHA256SUMS.minisig',
} as const;

/** Content of `oci-layout` (OCI image-spec, image-layout.md). */
export const layoutContent = '{"imageLayoutVersion":"1.0.0"}';

/** The most bytes a reader takes of each entry before the first blob; a bundle of a million images stays below. */
export const headLimits = {
  entries: 64,
  layout: 4096,
  index: 256 * 1024 * 1024,
  catalog: 4 * 1024 * 1024 * 1024,
} as const;

/** Name of a blob's entry, as the OCI image layout wants it. */
export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** The digest that an entry's name stands for, or undefined where the entry is not a blob. */
export function digestOfPath(path: string): Digest | undefined {
  const match = /^blobs\/([a-z0-9]+)\/([0-9a-f]+)$/.exec(path);
  const digest = match === null ? undefined : `${match[1]}:${match[2]}`;
  return isDigest(digest) ? digest : undefined;
}

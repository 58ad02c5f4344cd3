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

/** The most bytes a reader takes of each entry before the first blob; a bundle of a million images stays below. */
export const headLimits = {
  entries: 64,
  layout: 4096,
  index: 256 * 1024 * 1024,
  catalog: 4 * 1024 * 1024 * 1024,
} as const;

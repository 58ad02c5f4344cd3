/** Version of the format of a bundle that carries everything, stored in the catalog's `user_version`. */
export const formatVersion = 1;

/** Version of the format of a delta. A reader of version 1 would take a delta for a damaged bundle, so it has to reject it. */
export const deltaVersion = 2;

/** The catalog's `application_id`: "arlf" in ASCII, by which `file` and sqlite3 tell it from other databases. */
export const applicationId = 0x61726c66;

/** Bytes of a page of the catalog. */
export const catalogPageSize = 4096;

/** Names of the entries before the first blob, in file order. */
export const entryNames = {
  layout: 'oci-layout',
  index: 'index.json',
  catalog: 'airlift/catalog.db',
  trustedRoot: 'airlift/trusted_root.json',
  sha512sums: 'airlift/SHA512SUMS',
  sha256sums: 'airlift/SHA256SUMS',
  signature: 'airlift/SHA256SUMS.minisig',
} as const;

/** Name of the row of the catalog's `about` that holds the text of a trusted root. */
export const trustedRootName = 'trusted_root';

/** The most bytes of a trusted root that a bundle carries; the public one has 7,000. */
export const maxTrustedRoot = 1024 * 1024;

/** The entry that marks a repair file, which carries blobs for a damaged bundle. */
export const repairMark = 'airlift/repair';

/** The most entries before the first blob, and the most bytes that a reader accepts of each; a bundle of a million images stays below. */
export const headLimits = {
  entries: 64,
  layout: 4096,
  index: 256 * 1024 * 1024,
  catalog: 4 * 1024 * 1024 * 1024,
} as const;

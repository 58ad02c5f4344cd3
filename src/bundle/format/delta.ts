import type { Digest } from '../../oci/digest.js';

/** What a delta was made against: a receipt of a site, a record of what was sent, or a bundle. */
export interface DeltaBase {
  readonly kind: 'receipt' | 'sent' | 'bundle';
  /** The registry that the receipt states. */
  readonly registry?: string | undefined;
  /** Time that the receipt or the bundle states (RFC 3339, UTC). */
  readonly time: string;
  /** Digest of the file with the receipt, or of the bundle's `SHA256SUMS`. */
  readonly digest: Digest;
}

/**
 * A repository in which a site probably has a blob: `site`, its path in the site's registry; `source`, the repository with its registry at
 * the source, from which the importer derives the name at the site.
 */
export interface BasePlace {
  readonly kind: 'site' | 'source';
  readonly repository: string;
}

/** A blob that a delta leaves out because its base has it. */
export interface BaseBlob {
  readonly digest: Digest;
  readonly size: number;
}

/** The most places to record for a blob: a common layer may be in hundreds of repositories, and one of them is enough. */
export const maxPlaces = 8;

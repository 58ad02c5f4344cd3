import { blobPath } from '../../oci/image-layout.js';
import type { DeltaBase } from '../format/delta.js';
import type { Catalog } from '../format/catalog.js';
import type { BundleReader } from '../reader.js';
import type { Findings } from './findings.js';

/** What a check of a delta sees of the layers that the delta leaves out. */
export interface DeltaReport {
  /** What the delta was made against. */
  readonly bases: readonly DeltaBase[];
  /** Layers that it leaves out. */
  readonly blobs: number;
  readonly bytes: number;
  /** Those of them that no base was given for: only the site's registry can prove that it has them. */
  readonly unseenBlobs: number;
}

/**
 * Checks that the bases of a delta have the layers which it leaves out.
 * @param bases bundles, whose content is verified elsewhere; none: what is left out stays unseen
 */
export function checkBase(catalog: Catalog, bases: readonly BundleReader[], findings: Findings): DeltaReport {
  const totals = catalog.baseTotals();
  if (bases.length > 0)
    for (const { digest, size } of catalog.baseBlobs()) {
      const found = bases.map((base) => base.catalog.blob(digest)).find((blob) => blob?.offset !== undefined);
      if (found === undefined)
        findings.report('missing', blobPath(digest), 'left out, and none of the bases has it', digest);
      else if (found.size !== size)
        findings.report(
          'edge',
          blobPath(digest),
          `left out with another size than in its base; got ${found.size} bytes, want ${size}`,
          digest,
        );
    }
  return { bases: catalog.bases(), ...totals, unseenBlobs: bases.length > 0 ? 0 : totals.blobs };
}

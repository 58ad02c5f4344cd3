import { formatPlatform, isUnknown } from '../../oci/platform.js';
import type { Digest } from '../../oci/digest.js';
import { platformOf, type BundleBlob, type Catalog, type ManifestRow } from './catalog.js';

/** A blob that an image needs. */
export interface ImagePart extends Pick<BundleBlob, 'digest' | 'size' | 'kind'> {
  /** Whether a site that imported the bundle has it: only foreign layers may be missing there. */
  readonly isHeld: boolean;
  /** Platform of a manifest; undefined for artifacts and attestations. */
  readonly platform?: string | undefined;
}

type PartRow = ManifestRow & { readonly isHeld: number };

/** Lists what images of a catalog need. */
export class ImageParts {
  readonly #parts;
  readonly #below;

  constructor({ database }: Catalog) {
    this.#parts = database.prepare(`WITH RECURSIVE tree (blob) AS (
        SELECT root FROM images WHERE reference = @reference
        UNION SELECT original FROM images WHERE reference = @reference AND original IS NOT NULL
        UNION SELECT child FROM tree CROSS JOIN edges ON parent = tree.blob AND role <> 'subject'
      )
      SELECT digest, size, kind, media_type AS mediaType, artifact_type AS artifactType, (content_offset IS NOT NULL OR left_out = 'base') AS isHeld,
        os, architecture, variant, os_version AS osVersion, os_features AS osFeatures
      FROM tree CROSS JOIN blobs ON blobs.id = tree.blob LEFT JOIN manifests ON manifests.blob = tree.blob
      ORDER BY blobs.id`);
    this.#below = database
      .prepare(
        `SELECT part.digest FROM blobs AS manifest
          CROSS JOIN edges ON parent = manifest.id AND role IN ('config', 'layer')
          CROSS JOIN blobs AS part ON part.id = child WHERE manifest.digest = ?`,
      )
      .pluck();
  }

  /** Lists the config and the layers of a manifest. */
  below(manifest: Digest): Digest[] {
    return this.#below.all(manifest) as Digest[];
  }

  /** Lists everything that belongs to an image, each blob once: indexes, manifests, configs, layers, referrers. */
  of(reference: string): ImagePart[] {
    const rows = this.#parts.all({ reference }) as PartRow[];
    return rows.map((row) => {
      const { digest, size, kind, isHeld } = row;
      const platform = platformOf(row);
      const isNamed = kind === 'manifest' && platform !== undefined && !isUnknown(platform);
      return {
        digest,
        size,
        kind,
        isHeld: isHeld === 1,
        platform: isNamed ? formatPlatform(platform) : undefined,
      };
    });
  }
}

import { formatPlatform } from '../../oci/platform.js';
import { platformOf, type Catalog, type ManifestRow } from './catalog.js';
import type { PlatformSize } from '../report.js';

/** Computes the sizes of images from a catalog. */
export class ImageSizes {
  readonly #platforms;
  readonly #image;

  constructor(catalog: Catalog) {
    const { database } = catalog;
    this.#platforms = database.prepare(`WITH RECURSIVE tree (blob) AS (
        SELECT root FROM images WHERE reference = ?
        UNION SELECT child FROM tree CROSS JOIN edges ON parent = tree.blob AND role = 'manifest'
      )
      SELECT digest, os, architecture, variant, os_version AS osVersion, os_features AS osFeatures,
        blobs.size + (SELECT coalesce(sum(part.size), 0) FROM blobs AS part WHERE part.id IN (
          SELECT child FROM edges WHERE parent = blobs.id AND role IN ('config', 'layer'))) AS size
      FROM tree CROSS JOIN manifests ON manifests.blob = tree.blob CROSS JOIN blobs ON blobs.id = tree.blob
      WHERE kind = 'manifest' AND os IS NOT NULL AND NOT (os = 'unknown' AND architecture = 'unknown')
      ORDER BY os, architecture, variant, os_version, digest`);
    this.#image = database
      .prepare(
        `WITH RECURSIVE tree (blob) AS (
          SELECT root FROM images WHERE reference = @reference
          UNION SELECT original FROM images WHERE reference = @reference AND original IS NOT NULL
          UNION SELECT child FROM tree CROSS JOIN edges ON parent = tree.blob AND role <> 'subject'
        )
        SELECT sum(size) FROM tree CROSS JOIN blobs ON blobs.id = tree.blob`,
      )
      .pluck();
  }

  /** Lists the platforms of an image with their sizes. */
  platforms(reference: string): PlatformSize[] {
    const rows = this.#platforms.all(reference) as (ManifestRow & { size: number })[];
    return rows.map((row) => {
      const platform = platformOf(row);
      return {
        platform: platform === undefined ? '' : formatPlatform(platform),
        digest: row.digest,
        size: row.size,
      };
    });
  }

  /** Returns the bytes of everything that belongs to an image, each blob once: platforms, indexes, attestations, referrers. */
  image(reference: string): number {
    return this.#image.get({ reference }) as number;
  }
}

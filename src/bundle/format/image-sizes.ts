import { formatPlatform } from '../../oci/platform.js';
import { platformOf, type Catalog, type ManifestRow } from './catalog.js';
import type { PlatformSize, SharedBytes } from '../report.js';

/** Computes the sizes of images from a catalog. */
export class ImageSizes {
  readonly #platforms;
  readonly #image;
  readonly #database;

  constructor(catalog: Catalog) {
    const { database } = catalog;
    this.#database = database;
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

  /** Computes how images share blobs: the bytes that only one image uses, by its reference, and the bytes that several use. */
  sharing(): { readonly own: ReadonlyMap<string, number>; readonly shared: readonly SharedBytes[] } {
    const users = `WITH RECURSIVE tree (image, blob) AS (
        SELECT id, root FROM images WHERE companion_of IS NULL
        UNION SELECT id, original FROM images WHERE companion_of IS NULL AND original IS NOT NULL
        UNION SELECT tree.image, child FROM tree CROSS JOIN edges ON parent = tree.blob AND role <> 'subject'
      ),
      users AS (SELECT blob, min(image) AS image, count(*) AS images FROM tree GROUP BY blob)`;
    const own = this.#database.prepare(`${users} SELECT reference, sum(size) AS bytes
      FROM users JOIN images ON images.id = users.image JOIN blobs ON blobs.id = users.blob
      WHERE users.images = 1 GROUP BY users.image`);
    const shared = this.#database
      .prepare(`${users} SELECT users.images AS images, count(*) AS blobs, sum(size) AS bytes
      FROM users JOIN blobs ON blobs.id = users.blob WHERE users.images > 1 GROUP BY users.images ORDER BY users.images`);
    const rows = own.all() as { reference: string; bytes: number }[];
    return {
      own: new Map(rows.map(({ reference, bytes }) => [reference, bytes])),
      shared: shared.all() as SharedBytes[],
    };
  }
}

import type { Digest } from '../../oci/digest.js';
import { blobPath } from '../../oci/image-layout.js';
import { headerLength, paddedLength } from '../../tar/header.js';
import type { Catalog } from './catalog.js';
import { maxPlaces } from './delta.js';

/** A blob of an image. */
export interface ContentBlob {
  /** Its position in the catalog. */
  readonly id: number;
  readonly isLayer: boolean;
  /** Bytes that it takes in an archive, with its header and padding; 0 if the bundle does not carry it. */
  readonly length: number;
  /** An upper bound of the bytes that the head of a bundle needs for it. */
  readonly headLength: number;
}

/** What a bundle of one image would consist of. */
export interface ImageContent {
  readonly blobs: readonly ContentBlob[];
  /** An upper bound of the bytes that the head of a bundle needs for the image, without its blobs. */
  readonly headLength: number;
}

/** An upper bound of the bytes of a head without images: headers, and the pages of a catalog that has only few rows. */
export const emptyHeadLength = 192 * 1024;

/** Bytes of an edge in the table of edges and its index, with some reserve for pages that are not full. */
const edgeLength = 80;

interface BlobRow {
  readonly id: number;
  readonly digest: Digest;
  readonly size: number;
  readonly kind: string;
  readonly isCarried: number;
  /** Bytes of the texts in its row of `manifests`. */
  readonly texts: number;
}

/** Computes what bundles of some of a catalog's images would consist of. */
export class ImageContents {
  readonly #blobs;
  readonly #figures;

  constructor({ database }: Catalog) {
    const tree = `WITH RECURSIVE tree (blob) AS (
        SELECT root FROM images WHERE reference = @reference
        UNION SELECT original FROM images WHERE reference = @reference AND original IS NOT NULL
        UNION SELECT child FROM tree CROSS JOIN edges ON parent = tree.blob AND role <> 'subject'
      )`;
    const texts = [
      'media_type',
      'artifact_type',
      'subject',
      'os',
      'architecture',
      'variant',
      'os_version',
      'os_features',
    ]
      .map((column) => `length(coalesce(${column}, ''))`)
      .join(' + ');
    this.#blobs =
      database.prepare(`${tree} SELECT blobs.id, digest, size, kind, content_offset IS NOT NULL AS isCarried,
        coalesce(${texts}, 0) AS texts
      FROM tree CROSS JOIN blobs ON blobs.id = tree.blob LEFT JOIN manifests ON manifests.blob = tree.blob ORDER BY blobs.id`);
    this.#figures = database.prepare(`${tree} SELECT
      (SELECT count(*) FROM tree CROSS JOIN edges ON parent = tree.blob) AS edges,
      (SELECT length(media_type) + length(coalesce(artifact_type, '')) FROM images WHERE reference = @reference) AS texts`);
  }

  /** Lists the blobs that a bundle of one image has: indexes, manifests, configs, layers, referrers. */
  of(reference: string): ImageContent {
    const blobs = (this.#blobs.all({ reference }) as BlobRow[]).map(contentOf);
    const { edges, texts } = this.#figures.get({ reference }) as { edges: number; texts: number };
    // A reference is in the catalog, in its index and twice in index.json, where JSON may escape characters.
    const headLength = edges * edgeLength + 6 * reference.length + 3 * texts + 1024;
    return { blobs, headLength };
  }
}

function contentOf({ id, digest, size, kind, isCarried, texts }: BlobRow): ContentBlob {
  return {
    id,
    isLayer: kind === 'layer',
    length: isCarried === 1 ? headerLength(blobPath(digest)) + paddedLength(size) : 0,
    // The digest is in the catalog, in its index, and in the list of digests twice.
    headLength: 320 + 4 * digest.length + 3 * texts,
  };
}

/** Returns an upper bound of the bytes that a head needs to say where the site has a layer that the bundle leaves out. */
export function placesLength(longestReference: number): number {
  return maxPlaces * (longestReference + 32);
}

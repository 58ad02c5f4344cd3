import { algorithmOf, hexOf, type DigestAlgorithm, type Digest } from '../../oci/digest.js';
import { ociIndex } from '../../oci/media-types.js';
import { blobPath } from '../../oci/image-layout.js';

/** The exact bytes of `index.json` and of the lists of digests for the rows of a catalog, for writing them and for verifying them. */

/** The row of an image in `index.json`. */
export interface IndexRow {
  readonly reference: string;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly digest: string;
  readonly size: number;
  readonly kind: string;
  readonly os: string | null;
  readonly architecture: string | null;
  readonly variant: string | null;
  readonly osVersion: string | null;
  readonly osFeatures: string | null;
}

/** Formats an image's entry: the descriptor of its root, with the name annotations of the OCI layout and of containerd. */
export function indexEntry(row: IndexRow): string {
  const isSingle = row.kind === 'manifest' && row.os !== null;
  return JSON.stringify({
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.size,
    artifactType: row.artifactType ?? undefined,
    platform: isSingle
      ? {
          architecture: row.architecture,
          os: row.os,
          'os.version': row.osVersion ?? undefined,
          'os.features': row.osFeatures === null ? undefined : (JSON.parse(row.osFeatures) as string[]),
          variant: row.variant ?? undefined,
        }
      : undefined,
    annotations: {
      'io.containerd.image.name': row.reference,
      'org.opencontainers.image.ref.name': row.reference,
    },
  });
}

/** Yields the text of `index.json` in pieces. */
export function* indexJson(rows: Iterable<IndexRow>): Iterable<string> {
  yield `{"schemaVersion":2,"mediaType":"${ociIndex}","manifests":[`;
  let comma = '';
  for (const row of rows) {
    yield `${comma}\n${indexEntry(row)}`;
    comma = ',';
  }
  yield '\n]}\n';
}

/** Yields the lines for the blobs whose digests use one algorithm, in file order. */
export function* blobLines(digests: Iterable<Digest>, algorithm: DigestAlgorithm): Iterable<string> {
  for (const digest of digests)
    if (algorithmOf(digest) === algorithm) yield `${hexOf(digest)}  ${blobPath(digest)}\n`;
}

/** Yields the lines of `SHA256SUMS`: first the other entries of the head, then the blobs. */
export function* sumsLines(
  entries: Iterable<{ readonly sha256: string; readonly name: string }>,
  digests: Iterable<Digest>,
): Iterable<string> {
  for (const { sha256, name } of entries) yield `${sha256}  ${name}\n`;
  yield* blobLines(digests, 'sha256');
}

import { algorithmOf, hexOf, type Digest } from '../../oci/digest.js';
import type { Findings } from './findings.js';
import { blobPath } from '../../oci/image-layout.js';
import { maxManifestSize } from '../../oci/manifest.js';
import type { HashPool } from './hash-pool.js';
import type { HashTask } from './hash-range.js';
import { pagedRows } from '../format/sqlite.js';
import type { CheckProgress } from '../report.js';

export interface ContentCheckOptions {
  /** Hash only manifests, indexes and configs. */
  readonly quick?: boolean | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface FoundRow {
  readonly id: number;
  readonly digest: Digest;
  readonly size: number;
  readonly position: number;
}

/** Rows per query: results are written while blobs are hashed. */
const pageRows = 500;

/** Selects what is hashed. Without a catalog the kind of a blob is unknown: then a small one may be a manifest. */
function selection(quick: boolean): string {
  return quick
    ? `position IS NOT NULL AND (kind <> 'layer' OR (kind IS NULL AND size <= ${maxManifestSize}))`
    : 'position IS NOT NULL';
}

function foundBlobs(findings: Findings, selected: string): Iterable<FoundRow> {
  const page = findings.database.prepare(
    `SELECT id, digest, size, position FROM blobs WHERE id > ? AND ${selected} ORDER BY id LIMIT ${pageRows}`,
  );
  return pagedRows(pageRows, (last) => page.all(last?.id ?? 0));
}

/**
 * Hashes every blob that was found in the file, or with `quick` every manifest, index and config.
 * @throws AirliftError `interrupted`, `io`
 */
export async function checkContents(
  pool: HashPool,
  findings: Findings,
  options: ContentCheckOptions,
): Promise<void> {
  const selected = selection(options.quick === true);
  const [totalBlobs, totalBytes] = findings.database
    .prepare(`SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE ${selected}`)
    .raw()
    .get() as [number, number];
  const hashing = new Map<number, FoundRow>();
  function* tasks(): Iterable<HashTask> {
    for (const row of foundBlobs(findings, selected)) {
      hashing.set(row.id, row);
      yield { id: row.id, position: row.position, size: row.size, algorithm: algorithmOf(row.digest) };
    }
  }
  let blobs = 0;
  let bytes = 0;
  /** Bytes hashed of blobs that are not finished. */
  let ahead = 0;
  const reportProgress = (): void =>
    options.onProgress?.({ blobs, bytes: bytes + ahead, totalBlobs, totalBytes });
  await pool.hash(tasks(), {
    signal: options.signal,
    onProgress: (count) => {
      ahead += count;
      reportProgress();
    },
    onResult: ({ id, hex, bytes: got }) => {
      const row = hashing.get(id);
      hashing.delete(id);
      if (row === undefined) return;
      const { digest, size } = row;
      blobs++;
      bytes += size;
      ahead = Math.max(0, ahead - size);
      reportProgress();
      if (got < size)
        findings.report('missing', blobPath(digest), `truncated; got ${got} bytes, want ${size}`, digest);
      else if (hex === hexOf(digest)) findings.approve(id);
      else {
        findings.report(
          'digest',
          blobPath(digest),
          `digest mismatch after ${size} bytes; got ${algorithmOf(digest)}:${hex}, want ${digest}`,
          digest,
        );
      }
    },
  });
}

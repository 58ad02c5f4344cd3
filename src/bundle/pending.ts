import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Repository } from '../oci/reference.js';
import type { Journal } from './journal.js';

/** A blob whose content is still to come, or to be checked again. */
export interface PendingBlob {
  readonly descriptor: Descriptor;
  /** Where it may be fetched from. */
  readonly repository: Repository;
  /** Byte of the file at which its content begins. */
  readonly position: number;
  /**
   * Bytes at its begin that an earlier run says to have written, up to all of them. A hint: they are hashed again, and where
   * the digest of the whole is wrong, the blob starts over.
   */
  readonly have: number;
}

interface PendingRow {
  readonly id: number;
  readonly digest: Digest;
  readonly size: number;
  readonly offset: number;
  readonly mediaType: string;
  readonly urls: string | null;
  readonly registry: string;
  readonly repository: string;
  readonly have: number;
}

/** Rows taken from the journal at a time: marks may be written between two pages. */
const pageRows = 256;

const isPending = `"offset" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contents WHERE blob = blobs.id)
  AND coalesce(marks.done, 0) = 0`;

/** Blobs that this run has not finished yet, and bytes of them that are not on the disk. */
export function pendingFigures(journal: Journal): { blobs: number; bytes: number } {
  return journal.database
    .prepare(
      `SELECT count(*) AS blobs, coalesce(sum(size - min(size, coalesce(have, 0))), 0) AS bytes
      FROM blobs LEFT JOIN marks ON marks.blob = blobs.id WHERE ${isPending}`,
    )
    .get() as { blobs: number; bytes: number };
}

/** The blobs that this run has not finished yet, largest first. */
export function* pendingBlobs(journal: Journal): Iterable<PendingBlob> {
  const start = Number(journal.get('start'));
  const page = journal.database.prepare(
    `SELECT id, digest, size, "offset", media_type AS mediaType, urls, registry, repository,
      max(0, min(size, coalesce(have, 0))) AS have
    FROM blobs LEFT JOIN marks ON marks.blob = blobs.id
    WHERE (size < @size OR (size = @size AND id > @id)) AND ${isPending}
    ORDER BY size DESC, id LIMIT ${pageRows}`,
  );
  let after = { size: Number.MAX_SAFE_INTEGER, id: 0 };
  for (;;) {
    const rows = page.all(after) as PendingRow[];
    for (const row of rows) {
      yield {
        descriptor: {
          mediaType: row.mediaType,
          digest: row.digest,
          size: row.size,
          urls: row.urls === null ? undefined : (JSON.parse(row.urls) as string[]),
        },
        repository: { registry: row.registry, repository: row.repository },
        position: start + row.offset,
        have: row.have,
      };
      after = { size: row.size, id: row.id };
    }
    if (rows.length < pageRows) return;
  }
}

import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { livesUnderManifests } from '../../oci/media-types.js';
import type { Repository } from '../../oci/reference.js';
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
  /** Digests of its first bytes, as an earlier run wrote them, from the shortest on. */
  readonly checkpoints: readonly Checkpoint[];
}

/** What the first bytes of a blob were when they were written. */
export interface Checkpoint {
  readonly bytes: number;
  /** Their digest, by the blob's own algorithm. */
  readonly digest: Uint8Array;
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

/** Blobs that this run has not finished yet, bytes of them that are not on the disk, and bytes that seem to be. */
export function pendingFigures(journal: Journal): { blobs: number; bytes: number; written: number } {
  return journal.database
    .prepare(
      `SELECT count(*) AS blobs, coalesce(sum(size - min(size, coalesce(have, 0))), 0) AS bytes,
        coalesce(sum(min(size, coalesce(have, 0))), 0) AS written
      FROM blobs LEFT JOIN marks ON marks.blob = blobs.id WHERE ${isPending}`,
    )
    .get() as { blobs: number; bytes: number; written: number };
}

/** The blobs that this run has not finished yet, largest first. */
export function* pendingBlobs(journal: Journal): Iterable<PendingBlob> {
  const start = Number(journal.get('start'));
  const page = journal.database.prepare(
    `SELECT id, digest, size, "offset", media_type AS mediaType, urls, registry, repository,
      iif(marks.position = @start + "offset", max(0, min(size, have)), 0) AS have
    FROM blobs LEFT JOIN marks ON marks.blob = blobs.id
    WHERE (size < @size OR (size = @size AND id > @id)) AND ${isPending}
    ORDER BY size DESC, id LIMIT ${pageRows}`,
  );
  const checkpoints = journal.database.prepare(
    'SELECT bytes, digest FROM checkpoints WHERE blob = ? AND bytes <= ? ORDER BY bytes',
  );
  let after = { start, size: Number.MAX_SAFE_INTEGER, id: 0 };
  for (;;) {
    const rows = page.all(after) as PendingRow[];
    for (const row of rows) {
      yield {
        descriptor: {
          mediaType: row.mediaType,
          digest: row.digest,
          size: row.size,
          urls: row.urls === null ? undefined : (JSON.parse(row.urls) as string[]),
          // Manifests are in the journal with their content: what is to come stands among layers or is a config.
          ...(livesUnderManifests(row) ? { isBlob: true as const } : {}),
        },
        repository: { registry: row.registry, repository: row.repository },
        position: start + row.offset,
        have: row.have,
        checkpoints: row.have === 0 ? [] : (checkpoints.all(row.id, row.have) as Checkpoint[]),
      };
      after = { start, size: row.size, id: row.id };
    }
    if (rows.length < pageRows) return;
  }
}

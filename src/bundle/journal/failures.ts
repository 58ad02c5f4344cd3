import type { PlainError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Repository } from '../../oci/reference.js';
import type { Journal } from './journal.js';

/** A blob that can't be had, with what its registry answered. */
export interface LostBlob {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly error: PlainError;
}

/** An image that is not in the bundle because it failed. */
export interface Failure {
  readonly image: string;
  /** Orders the list of failures. */
  readonly position: number;
  readonly error: PlainError;
  /** Of an image that was planned: the blob that could not be had. */
  readonly lost?: Pick<LostBlob, 'repository' | 'descriptor'> | undefined;
}

interface FailureRow {
  readonly image: string;
  readonly position: number;
  readonly error: string;
  readonly lost: string | null;
}

/** Notes a failed image, in the place of what was noted of it before. */
export function noteFailure(journal: Journal, { image, position, error, lost }: Failure): void {
  journal.statements.noteFailure.run(
    image,
    position,
    JSON.stringify(error),
    lost === undefined ? null : JSON.stringify(lost),
  );
}

/** An image that failed before is part of the plan now. */
export function forgetFailure(journal: Journal, image: string): void {
  journal.statements.forgetFailure.run(image);
}

export function listFailures(journal: Journal): Failure[] {
  const rows = journal.database
    .prepare('SELECT image, position, error, lost FROM failures ORDER BY position, image')
    .all() as FailureRow[];
  return rows.map(({ image, position, error, lost }) => ({
    image,
    position,
    error: JSON.parse(error) as PlainError,
    lost: lost === null ? undefined : (JSON.parse(lost) as Failure['lost']),
  }));
}

/** What names a blob, what names that, and what a referrer among them refers to. */
const dropping = `WITH RECURSIVE up (id) AS (
    SELECT id FROM blobs WHERE digest = ?
    UNION SELECT parent FROM up CROSS JOIN edges ON child = up.id AND role NOT IN ('subject', 'original')
    UNION SELECT child FROM up CROSS JOIN edges ON parent = up.id AND role = 'subject'
  )
  SELECT reference FROM images WHERE root IN up ORDER BY reference`;

/** The images of a plan that a blob belongs to, itself or by a referrer. */
export function imagesOf(journal: Journal, digest: Digest): string[] {
  return journal.database.prepare(dropping).pluck().all(digest) as string[];
}

/**
 * Takes the images out of a plan that a blob belongs to, itself or by a referrer, and notes them as failed.
 * @returns their references
 */
export function dropImagesOf(journal: Journal, { repository, descriptor, error }: LostBlob): string[] {
  const { database } = journal;
  const images = imagesOf(journal, descriptor.digest);
  const last = database.prepare('SELECT coalesce(max(position), 0) FROM failures').pluck().get() as number;
  const drop = database.prepare('DELETE FROM images WHERE reference = ?');
  for (const [at, image] of images.entries()) {
    noteFailure(journal, { image, position: last + 1 + at, error, lost: { repository, descriptor } });
    drop.run(image);
  }
  return images;
}

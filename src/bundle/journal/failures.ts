import type { Database } from '../format/database.js';
import type { PlainError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Repository } from '../../oci/reference.js';

/** A blob that failed to download, with the error of its registry. */
export interface LostBlob {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly error: PlainError;
}

/** An image that is missing from the bundle because it failed. */
export interface Failure {
  readonly image: string;
  /** The image's position in the list of images; failures are sorted by it. */
  readonly position: number;
  readonly error: PlainError;
  /** The blob that failed to download, if planning the image succeeded. */
  readonly lost?: Pick<LostBlob, 'repository' | 'descriptor'> | undefined;
}

interface FailureRow {
  readonly image: string;
  readonly position: number;
  readonly error: string;
  readonly lost: string | null;
}

/** The images of the plan that need a blob: as content, as a referrer, or as what a referrer of theirs names. */
const imagesWithBlob = `WITH RECURSIVE up (id) AS (
    SELECT id FROM blobs WHERE digest = ?
    UNION SELECT parent FROM up CROSS JOIN edges ON child = up.id AND role <> 'subject'
    UNION SELECT child FROM up CROSS JOIN edges ON parent = up.id AND role = 'subject'
  )
  SELECT reference FROM images WHERE root IN up ORDER BY reference`;

/** The journal's table of failed images. It outlives the run, so that the next one retries them. */
export class Failures {
  readonly #statements;

  constructor(database: Database) {
    this.#statements = {
      record: database.prepare(
        'INSERT OR REPLACE INTO failures (image, position, error, lost) VALUES (?, ?, ?, ?)',
      ),
      forget: database.prepare('DELETE FROM failures WHERE image = ?'),
      list: database.prepare('SELECT image, position, error, lost FROM failures ORDER BY position, image'),
      lastPosition: database.prepare('SELECT coalesce(max(position), 0) FROM failures').pluck(),
      imagesWithBlob: database.prepare(imagesWithBlob).pluck(),
      dropImage: database.prepare('DELETE FROM images WHERE reference = ?'),
    };
  }

  /** Records a failed image; replaces an earlier failure of the same image. */
  record({ image, position, error, lost }: Failure): void {
    this.#statements.record.run(
      image,
      position,
      JSON.stringify(error),
      lost === undefined ? null : JSON.stringify(lost),
    );
  }

  /** Removes the failure of an image that has been planned since. */
  forget(image: string): void {
    this.#statements.forget.run(image);
  }

  list(): Failure[] {
    return (this.#statements.list.all() as FailureRow[]).map(({ image, position, error, lost }) => ({
      image,
      position,
      error: JSON.parse(error) as PlainError,
      lost: lost === null ? undefined : (JSON.parse(lost) as Failure['lost']),
    }));
  }

  /** Lists the images of the plan that need a blob, themselves or through a referrer. */
  imagesWith(digest: Digest): string[] {
    return this.#statements.imagesWithBlob.all(digest) as string[];
  }

  /**
   * Removes the images that need a lost blob from the plan and records them as failed.
   * @returns their references
   */
  dropImagesWith({ repository, descriptor, error }: LostBlob): string[] {
    const images = this.imagesWith(descriptor.digest);
    const last = this.#statements.lastPosition.get() as number;
    for (const [at, image] of images.entries()) {
      this.record({ image, position: last + 1 + at, error, lost: { repository, descriptor } });
      this.#statements.dropImage.run(image);
    }
    return images;
  }
}

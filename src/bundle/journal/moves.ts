import type { Database } from '../format/database.js';

/** A blob whose written bytes have to move because the plan has changed. */
export interface BlobMove {
  /** The blob's id in the journal. */
  readonly blob: number;
  /** Bytes to move. */
  readonly have: number;
  readonly from: number;
  readonly to: number;
}

/** The latest step of a move. */
export interface MoveStep {
  readonly blob: number;
  /** Bytes of the blob that are moved, this step included. */
  readonly moved: number;
  /** Position in the file that `chunk` is written to. */
  readonly position: number;
  /** The step's bytes if writing them overwrites their source; otherwise empty. */
  readonly chunk: Buffer;
}

/** The journal's record of blobs that move within the file, by which a killed process resumes a move. */
export class Moves {
  readonly #database: Database;
  readonly #statements;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = {
      list: database.prepare(
        `SELECT blob, have, position AS "from", ? + "offset" AS "to" FROM marks JOIN blobs ON blobs.id = marks.blob
        ORDER BY position`,
      ),
      dropMark: database.prepare('DELETE FROM marks WHERE blob = ?'),
      step: database.prepare('SELECT * FROM moving'),
      saveStep: database.prepare('INSERT OR REPLACE INTO moving VALUES (?, ?, ?, ?)'),
      place: database.prepare('UPDATE marks SET position = ? WHERE blob = ?'),
      clear: database.prepare('DELETE FROM moving'),
    };
  }

  /**
   * Lists the moves by position. Drops marks of blobs that are no longer in the plan, and marks whose order contradicts the plan's:
   * moving these blobs would overwrite others.
   * @param start position of the first blob's header, from which offsets count
   */
  list(start: number): BlobMove[] {
    this.#database.exec(`
      DELETE FROM marks WHERE have = 0 OR blob NOT IN (SELECT id FROM blobs WHERE "offset" IS NOT NULL)
        OR blob IN (SELECT blob FROM contents);
      DELETE FROM moving WHERE blob NOT IN (SELECT blob FROM marks WHERE have >= moved);
    `);
    const moves: BlobMove[] = [];
    const dropped: number[] = [];
    let end = { from: 0, to: 0 };
    for (const move of this.#statements.list.iterate(start) as Iterable<BlobMove>) {
      if (move.from < end.from || move.to < end.to) {
        dropped.push(move.blob);
        continue;
      }
      end = { from: move.from + move.have, to: move.to + move.have };
      if (move.from !== move.to) moves.push(move);
    }
    this.#database.transaction(() => dropped.forEach((blob) => this.#statements.dropMark.run(blob)))();
    return moves;
  }

  /** Returns the step that an interrupted run recorded last. */
  interruptedStep(): MoveStep | undefined {
    return this.#statements.step.get() as MoveStep | undefined;
  }

  saveStep({ blob, moved, position, chunk }: MoveStep): void {
    this.#statements.saveStep.run(blob, moved, position, chunk);
  }

  /** Records that a blob is moved completely, to `position`. */
  finish(blob: number, position: number): void {
    this.#database.transaction(() => {
      this.#statements.place.run(position, blob);
      this.#statements.clear.run();
    })();
  }

  /** Ends moving. */
  clear(): void {
    this.#statements.clear.run();
  }
}

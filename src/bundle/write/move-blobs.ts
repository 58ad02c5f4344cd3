import { checkInterrupted } from '../../errors.js';
import type { Statement } from 'better-sqlite3';
import type { BundleFile } from '../format/file.js';
import type { Journal } from '../journal/journal.js';

/** Bytes moved at a time. */
const chunkSize = 1024 * 1024;
const nothing = Buffer.alloc(0);

/** A blob whose bytes stand elsewhere than the plan wants them. */
interface Move {
  readonly blob: number;
  readonly have: number;
  readonly from: number;
  readonly to: number;
}

interface Step {
  readonly blob: number;
  readonly moved: number;
  readonly position: number;
  readonly chunk: Buffer;
}

/**
 * Moves what earlier runs wrote to where the plan now wants it, within the file. Plans order blobs alike, so that nothing is
 * overwritten that is still to be moved: what goes towards the end is moved from the last on, then what goes towards the
 * begin from the first on.
 *
 * A process may be killed at any instant: a chunk that overwrites part of itself is in the journal before it is written, and
 * written once more by the next run.
 * @throws AirliftError `interrupted`, `no-space`, `io`
 */
export async function moveWritten(journal: Journal, file: BundleFile, signal?: AbortSignal): Promise<void> {
  const moves = listMoves(journal);
  const mover = new Mover(journal, file);
  const isUp = ({ from, to }: Move): boolean => to > from;
  const ordered = [...moves.filter(isUp).reverse(), ...moves.filter((move) => !isUp(move))];
  for (const move of ordered) await mover.move(move, signal);
  journal.database.exec('DELETE FROM moving');
}

/** The moves by position, after marks were dropped that lead nowhere or that would break the order. */
function listMoves(journal: Journal): Move[] {
  const { database } = journal;
  database.exec(`
    DELETE FROM marks WHERE have = 0 OR blob NOT IN (SELECT id FROM blobs WHERE "offset" IS NOT NULL)
      OR blob IN (SELECT blob FROM contents);
    DELETE FROM moving WHERE blob NOT IN (SELECT blob FROM marks WHERE have >= moved);
  `);
  const rows = database
    .prepare(
      `SELECT blob, have, position AS "from", ? + "offset" AS "to" FROM marks JOIN blobs ON blobs.id = marks.blob
      ORDER BY position`,
    )
    .iterate(Number(journal.get('start'))) as Iterable<Move>;
  const moves: Move[] = [];
  const dropped: number[] = [];
  let end = { from: 0, to: 0 };
  for (const move of rows) {
    if (move.from < end.from || move.to < end.to) {
      dropped.push(move.blob);
      continue;
    }
    end = { from: move.from + move.have, to: move.to + move.have };
    if (move.from !== move.to) moves.push(move);
  }
  const drop = database.prepare('DELETE FROM marks WHERE blob = ?');
  database.transaction(() => dropped.forEach((blob) => drop.run(blob)))();
  return moves;
}

class Mover {
  readonly #journal: Journal;
  readonly #file: BundleFile;
  readonly #save: Statement;
  readonly #place: Statement;
  readonly #forget: Statement;
  #step: Step | undefined;

  constructor(journal: Journal, file: BundleFile) {
    const { database } = journal;
    this.#journal = journal;
    this.#file = file;
    this.#save = database.prepare('INSERT OR REPLACE INTO moving VALUES (?, ?, ?, ?)');
    this.#place = database.prepare('UPDATE marks SET position = ? WHERE blob = ?');
    this.#forget = database.prepare('DELETE FROM moving');
    this.#step = database.prepare('SELECT * FROM moving').get() as Step | undefined;
    if (this.#step !== undefined) file.writevSync([this.#step.chunk], this.#step.position);
  }

  async move(move: Move, signal: AbortSignal | undefined): Promise<void> {
    const { blob, have, from, to } = move;
    const save = this.#save;
    for (let moved = this.#step?.blob === blob ? this.#step.moved : 0; moved < have;) {
      checkInterrupted(signal, 'move content of the interrupted run');
      const length = Math.min(chunkSize, have - moved);
      // Against its own direction, so that a blob does not overwrite what it has still to move.
      const at = to > from ? have - moved - length : moved;
      const chunk = Buffer.alloc(length);
      this.#file.readSync(chunk, from + at);
      moved += length;
      if (Math.abs(to - from) < length) save.run(blob, moved, to + at, chunk);
      this.#file.writevSync([chunk], to + at);
      // A chunk that does not overwrite itself can be moved once more.
      if (Math.abs(to - from) >= length) save.run(blob, moved, to + at, nothing);
      await new Promise(setImmediate);
    }
    this.#step = undefined;
    this.#journal.database.transaction(() => {
      this.#place.run(to, blob);
      this.#forget.run();
    })();
  }
}

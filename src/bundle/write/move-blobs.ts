import { checkInterrupted } from '../../errors.js';
import type { BundleFile } from '../format/file.js';
import type { Journal } from '../journal/journal.js';
import type { BlobMove, MoveStep } from '../journal/moves.js';

/** Bytes moved at a time. */
const chunkSize = 1024 * 1024;
const nothing = Buffer.alloc(0);

/**
 * Moves what earlier runs wrote to its place in the current plan, within the file. All plans order blobs alike, so that no move
 * overwrites bytes that have yet to move: first the blobs that move towards the end, last one first, then those that move towards the
 * start, first one first.
 *
 * The process may be killed at any instant: a chunk that overlaps its own target is saved in the journal before it is written, and the
 * next run writes it again.
 * @throws AirliftError `interrupted`, `no-space`, `io`
 */
export async function moveWritten(journal: Journal, file: BundleFile, signal?: AbortSignal): Promise<void> {
  const moves = journal.moves.list(journal.start);
  const step = journal.moves.interruptedStep();
  if (step !== undefined) file.writevSync([step.chunk], step.position);
  const isTowardsEnd = ({ from, to }: BlobMove): boolean => to > from;
  const ordered = [...moves.filter(isTowardsEnd).reverse(), ...moves.filter((move) => !isTowardsEnd(move))];
  // The interrupted move comes first again: the moves before it are recorded as finished.
  for (const [at, move] of ordered.entries())
    await moveBlob(journal, file, move, at === 0 ? step : undefined, signal);
  journal.moves.clear();
}

async function moveBlob(
  journal: Journal,
  file: BundleFile,
  { blob, have, from, to }: BlobMove,
  step: MoveStep | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let moved = step?.blob === blob ? step.moved : 0; moved < have;) {
    checkInterrupted(signal, 'move content of the interrupted run');
    const length = Math.min(chunkSize, have - moved);
    // From the end that lies in the direction of the move, so that the blob does not overwrite bytes of its own that have yet to move.
    const at = to > from ? have - moved - length : moved;
    const chunk = Buffer.alloc(length);
    file.readSync(chunk, from + at);
    moved += length;
    const position = to + at;
    const isOverlapping = Math.abs(to - from) < length;
    if (isOverlapping) journal.moves.saveStep({ blob, moved, position, chunk });
    file.writevSync([chunk], position);
    // A chunk that does not overlap its target can be moved again.
    if (!isOverlapping) journal.moves.saveStep({ blob, moved, position, chunk: nothing });
    await new Promise(setImmediate);
  }
  journal.moves.finish(blob, to);
}

import { stat } from 'node:fs/promises';
import { BundleFile } from '../format/file.js';
import { journalError } from '../journal/journal-database.js';
import type { Journal } from '../journal/journal.js';
import { Layout, type LayoutSummary } from './layout.js';
import { clipMarks } from '../journal/progress-marks.js';
import type { BundleOptions } from './options.js';
import { refuseExisting, refuseOther } from './output-name.js';
import { digestOfPlacement } from '../journal/placement.js';

export interface TakeUpOptions extends Omit<BundleOptions, 'created'> {
  /** Seconds since 1970. */
  readonly created: number;
}

/** A bundle to go on with, or to begin. */
export interface TakenUp {
  readonly file: BundleFile;
  readonly layout: Layout;
  /** What an earlier run laid out, where its plan holds. */
  readonly summary: LayoutSummary | undefined;
  /** An earlier run ended right after it gave the bundle its name: there is nothing left to do. */
  readonly isNamed: boolean;
  /** The file holds bytes of which the journal knows nothing. */
  readonly isSalvage: boolean;
}

/**
 * Finds out how far an earlier run of the same command came, and makes the journal ready to go on from there. A journal that
 * is damaged is begun anew; what the file holds is looked for then.
 * @throws AirliftError `exists` where the final name is taken, `conflict` where the earlier run was asked for something
 *   else, `no-space` where that one no longer fits, `interrupted`, `io`
 */
export async function takeUp(journal: Journal, path: string, options: TakeUpOptions): Promise<TakenUp> {
  const { fingerprint, replace, refresh, signal } = options;
  if (!isSound(journal)) journal.restart();
  const state = journal.get('state');
  const isLaidOut = state === 'laid-out' || state === 'changed';
  const isSame = journal.get('fingerprint') === fingerprint;
  if (state === 'laid-out' && isSame && refresh !== true) {
    const named = await findNamed(path, journal);
    if (named !== undefined) return named;
  }
  if (replace !== true) await refuseExisting(path);
  if (isLaidOut && !isSame && refresh !== true)
    refuseOther(path, String(journal.get('fingerprint')), fingerprint, refresh !== undefined);
  const file = await BundleFile.open(`${path}.partial`, 'create');
  try {
    const layout = new Layout(journal, file);
    const { size } = await file.stat();
    const summary = isLaidOut && refresh !== true ? await restore(layout, state, size, signal) : undefined;
    if (summary === undefined) {
      // A plan that was laid out and does not hold any more is not to be trusted in any part.
      forgetPlan(journal, !isLaidOut || refresh === true);
      clipMarks(journal, size);
      journal.set('fingerprint', fingerprint);
      journal.set('created', options.created);
    }
    return { file, layout, summary, isNamed: false, isSalvage: size > 0 && !journal.hasMarks };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * The whole bundle that an earlier run gave its name before it was stopped, or undefined where there is none. Its head has the
 * digest of every entry, and no file gets its name before all of it is on the disk.
 */
async function findNamed(path: string, journal: Journal): Promise<TakenUp | undefined> {
  const sizeOf = async (name: string): Promise<number | undefined> =>
    (await stat(name).catch(() => undefined))?.size;
  if ((await sizeOf(path)) !== Number(journal.get('size')) || (await sizeOf(`${path}.partial`)) !== undefined)
    return undefined;
  const file = await BundleFile.open(path, 'r+');
  const layout = new Layout(journal, file);
  try {
    if (await layout.hasHead())
      return { file, layout, summary: layout.summary(), isNamed: true, isSalvage: false };
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}

/** Takes a plan up that an earlier run laid out, or changed and did not lay out again. */
async function restore(
  layout: Layout,
  state: 'laid-out' | 'changed',
  size: number,
  signal: AbortSignal | undefined,
): Promise<LayoutSummary | undefined> {
  try {
    return state === 'changed' ? await layout.layOutAgain(size, signal) : await layout.restore(size, signal);
  } catch (cause) {
    const error = journalError('read the journal', cause);
    if (error.code === 'damaged') return undefined;
    throw error;
  }
}

/** Makes the journal ready for a new plan; what was fetched for an earlier one stays where the journal is trusted. */
function forgetPlan(journal: Journal, isTrusted: boolean): void {
  try {
    if (isTrusted) return journal.replan();
  } catch (cause) {
    const error = journalError('read the journal', cause);
    if (error.code !== 'damaged') throw error;
  }
  journal.restart();
}

/** Whether all of a journal is as it was written, as far as that can be told. */
function isSound(journal: Journal): boolean {
  try {
    if (!journal.isIntact()) return false;
    const state = journal.get('state');
    if (state === 'changed') return journal.planDigest() === journal.get('plan');
    return state !== 'laid-out' || digestOfPlacement(journal) === journal.get('plan');
  } catch (cause) {
    const error = journalError('read the journal', cause);
    if (error.code === 'damaged') return false;
    throw error;
  }
}

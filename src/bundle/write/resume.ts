import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { BundleFile } from '../format/file.js';
import { findVolumes } from '../format/volumes/find.js';
import { listName, volumeName } from '../format/volumes/list.js';
import { revertNaming } from '../format/volumes/naming.js';
import { journalError } from '../journal/journal-database.js';
import type { Journal } from '../journal/journal.js';
import { Layout, type LayoutSummary } from './layout.js';
import { refuseOther } from './output-name.js';
import { partialPlace, refuseTaken, removeWritten } from './output-volumes.js';
import type { BundleSigning } from '../../signing/sign-content.js';

/** Options for starting or resuming a bundle. */
export interface BundleOptions {
  /** Modification time of every entry, and `created` in the catalog; fractions of a second are dropped. */
  readonly created: Date;
  /** Identifies the requested content: the same command gives the same text, whenever it runs. */
  readonly fingerprint: string;
  /** Replace an existing file of the final name once the new bundle is complete. */
  readonly replace?: boolean | undefined;
  /**
   * Plan again even if an interrupted run left a plan, and keep the blobs of that run that the new plan needs. Undefined if the caller
   * does not offer this choice.
   */
  readonly refresh?: boolean | undefined;
  /** Signs the bundle. The key is part of the request: the caller names it in `fingerprint`. */
  readonly signing?: BundleSigning | undefined;
  /** Rows of the catalog's `about` besides `created`. They are part of the request: the caller names them in `fingerprint`. */
  readonly about?: Readonly<Record<string, string>> | undefined;
  /** Write volumes of this many bytes. Default: one file. */
  readonly volumeSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ResumeOptions extends Omit<BundleOptions, 'created'> {
  /** Seconds since 1970. */
  readonly created: number;
  /**
   * Write from the start to the end: a file gets its size as it is written, and a volume is created when it is reached. Filesystems without
   * holes would fill a file of a given size with zeros.
   */
  readonly isInOrder: boolean;
}

/** A new or resumed bundle. */
export interface ResumedBundle {
  readonly file: BundleFile;
  readonly layout: Layout;
  /** The layout of an earlier run, if its plan still holds. */
  readonly summary: LayoutSummary | undefined;
  /** An earlier run ended right after it renamed the complete bundle to its final name. */
  readonly isNamed: boolean;
  /** The file holds bytes that the journal has no record of. */
  readonly isSalvage: boolean;
}

/** Returns what identifies the content of a bundle and how it is written. */
export function nameFingerprint(content: string, volumeSize: number | undefined): string {
  return volumeSize === undefined ? content : `${content} in volumes of ${volumeSize} bytes`;
}

/**
 * Determines how far an earlier run of the same command got, and prepares the journal to resume from there. A damaged journal is
 * emptied; `isSalvage` then tells the caller to search the file for what is written.
 * @throws AirliftError `exists` if the final name is taken, `conflict` if the earlier run was for other content, `no-space` if the plan
 *   no longer fits the disk, `interrupted`, `io`
 */
export async function resumeBundle(
  journal: Journal,
  path: string,
  options: ResumeOptions,
): Promise<ResumedBundle> {
  const { replace, refresh, signing, about, volumeSize, isInOrder, signal } = options;
  const fingerprint = nameFingerprint(options.fingerprint, volumeSize);
  if (!isSound(journal)) journal.restart();
  const state = journal.get('state');
  const isLaidOut = state === 'laid-out' || state === 'changed';
  const isSame = journal.get('fingerprint') === fingerprint;
  const isNext = journal.get('nextFingerprint') === fingerprint;
  if (state === 'laid-out' && (isSame || isNext) && refresh !== true) {
    const named = await findNamed(path, journal, volumeSize);
    if (named !== undefined) return named;
  }
  if (volumeSize !== undefined) await revertNaming(`${path}.partial`, path);
  if (replace !== true) await refuseTaken(path, volumeSize);
  if (isLaidOut && !isSame && refresh !== true)
    refuseOther(path, String(journal.get('fingerprint')), fingerprint, refresh !== undefined);
  if (isLaidOut && Number(journal.get('volumeSize') ?? 0) !== (volumeSize ?? 0)) {
    // What is written lies at other places.
    await removeWritten(path);
    journal.restart();
  }
  const file = await BundleFile.open(partialPlace(path, volumeSize), 'create');
  try {
    const layout = new Layout(journal, file, { signing, about, isInOrder });
    const { size } = await file.stat();
    const summary = isLaidOut && refresh !== true ? await restore(layout, state, size, signal) : undefined;
    if (summary === undefined) {
      // If a laid-out plan no longer holds, no part of the journal is trusted.
      forgetPlan(journal, !isLaidOut || refresh === true);
      journal.progress.clip(size);
      journal.set('fingerprint', fingerprint);
      journal.set('created', options.created);
      journal.set('volumeSize', volumeSize ?? 0);
    }
    // Without a record in a plan that holds, what was written is too little to search for, and lies elsewhere if the plan changes now.
    const isSalvage = summary === undefined && size > 0 && !journal.progress.hasBytes;
    return { file, layout, summary, isNamed: false, isSalvage };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Finds the complete bundle that an earlier run renamed to its final name before it was stopped. It is recognized by its head, which
 * covers every entry by digest; a file gets its name only after all of it is on the disk.
 */
async function findNamed(
  path: string,
  journal: Journal,
  volumeSize: number | undefined,
): Promise<ResumedBundle | undefined> {
  const size = Number(journal.get('size'));
  const isThere =
    volumeSize === undefined ? isNamedFile(path, size) : areNamedVolumes(path, size, volumeSize);
  if (!(await isThere)) return undefined;
  const [name, mode] = volumeSize === undefined ? ([path, 'r+'] as const) : ([listName(path), 'r'] as const);
  const file = await BundleFile.open(name, mode);
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

/** Reports whether a file has its final name and size. */
async function isNamedFile(path: string, size: number): Promise<boolean> {
  const sizeOf = async (name: string): Promise<number | undefined> =>
    (await stat(name).catch(() => undefined))?.size;
  return (await sizeOf(path)) === size && (await sizeOf(`${path}.partial`)) === undefined;
}

/** Reports whether volumes have their final names and sizes: their list gets its name last. */
async function areNamedVolumes(path: string, size: number, volumeSize: number): Promise<boolean> {
  const [partial, list] = [`${path}.partial`, listName(path)];
  if (existsSync(listName(partial)) || existsSync(volumeName(partial, 1)) || !existsSync(list)) return false;
  const found = await findVolumes(list);
  return (
    found?.size === size &&
    found.volumes[0]?.size === Math.min(volumeSize, size) &&
    found.volumes.every((volume) => volume.found === volume.size)
  );
}

/** Resumes a plan that an earlier run laid out, or that it changed but did not lay out again. */
async function restore(
  layout: Layout,
  state: 'laid-out' | 'changed',
  size: number,
  signal: AbortSignal | undefined,
): Promise<LayoutSummary | undefined> {
  try {
    return state === 'changed'
      ? await layout.layOutChanged(size, signal)
      : await layout.restore(size, signal);
  } catch (error) {
    throwUnlessDamage(error);
    return undefined;
  }
}

/** Prepares the journal for a new plan. A trusted journal keeps the contents that were fetched for an earlier plan. */
function forgetPlan(journal: Journal, isTrusted: boolean): void {
  try {
    if (isTrusted) return journal.replan();
  } catch (error) {
    throwUnlessDamage(error);
  }
  journal.restart();
}

/** Reports whether the journal is unchanged since it was written, as far as its digests show. */
function isSound(journal: Journal): boolean {
  try {
    if (!journal.isIntact()) return false;
    const state = journal.get('state');
    if (state === 'changed') return journal.planDigest() === journal.get('plan');
    return state !== 'laid-out' || journal.placementDigest() === journal.get('plan');
  } catch (error) {
    throwUnlessDamage(error);
    return false;
  }
}

/** Rethrows an error of reading the journal. Returns if the cause is damage: then the caller plans again. */
function throwUnlessDamage(cause: unknown): void {
  const error = journalError('read the journal', cause);
  if (error.code !== 'damaged') throw error;
}

import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { AirliftError, isAirliftError, systemCodeOf } from '../../errors.js';
import { noFollow } from '../format/volumes/files.js';
import { ioError } from '../format/io-error.js';
import { Journal } from '../journal/journal.js';

function ownerPath(path: string): string {
  return `${path}.partial.owner`;
}

function journalPath(path: string): string {
  return `${path}.partial.journal`;
}

/** Reports whether an earlier run left a journal. */
export function hasJournal(path: string): boolean {
  return existsSync(journalPath(path));
}

/** Removes the owner note that `openJournal` wrote, and the temporary catalog of a killed run. */
export function removeNotes(path: string): void {
  rmSync(ownerPath(path), { force: true });
  rmSync(`${path}.partial.catalog`, { force: true });
}

function writeOwnerNote(path: string): void {
  const note = `process ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`;
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | noFollow;
    const file = openSync(ownerPath(path), flags);
    writeSync(file, note);
    closeSync(file);
  } catch {
    // The note only improves an error message: the lock does not depend on it.
  }
}

/**
 * Opens and locks the journal, and writes a note that names this process for the error of other runs.
 * @throws AirliftError `busy` if another run holds the lock, `no-space`, `io`
 */
export function openJournal(path: string): Journal {
  try {
    const journal = Journal.open(journalPath(path));
    writeOwnerNote(path);
    return journal;
  } catch (error) {
    if (!isAirliftError(error, 'busy')) throw error;
    let owner = 'another process';
    try {
      owner =
        readFileSync(ownerPath(path), 'utf8')
          .slice(0, 200)
          .replace(/[^ -~]/g, '') || owner;
    } catch {
      // The note is missing or unreadable.
    }
    throw new AirliftError('busy', `write ${path}: ${owner} is writing it`, {
      cause: error,
      hint: 'wait for it to end, or choose another name',
    });
  }
}

/** Rejects a request that differs from that of the interrupted run. */
export function refuseOther(path: string, planned: string, requested: string, canRefresh: boolean): never {
  const refresh = canRefresh ? 'add `refresh` to plan again and keep the blobs that are still needed, ' : '';
  throw new AirliftError(
    'conflict',
    `write ${path}: an interrupted export of other content exists; got ${requested}, want ${planned}`,
    {
      hint: `run the earlier command again to finish it, ${refresh}or remove ${path}.partial and ${journalPath(path)} to start over`,
    },
  );
}

/**
 * Rejects a name that is taken, even by a broken link.
 * @param what names what `force` replaces, for the hint
 */
export async function refuseExisting(path: string, what = 'it'): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw ioError(`open ${path}`, error);
  }
  throw new AirliftError('exists', `write ${path}: already exists`, {
    hint: `choose another name, or add \`force\` to replace ${what}`,
  });
}

/** Waits until a new or renamed entry of a directory is on the disk, if the system supports it. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(dirname(path), 'r');
    await directory.sync().finally(() => directory.close());
  } catch {
    // Windows and some filesystems cannot sync directories.
  }
}

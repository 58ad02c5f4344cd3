import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { lstat, open, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { AirliftError, isAirliftError, systemCodeOf } from '../../errors.js';
import { noFollow } from '../format/file.js';
import { ioError } from '../format/io-error.js';
import { Journal } from '../journal/journal.js';

function ownerPath(path: string): string {
  return `${path}.partial.owner`;
}

function journalPath(path: string): string {
  return `${path}.partial.journal`;
}

/** Whether an earlier run left a journal. */
export function hasJournal(path: string): boolean {
  return existsSync(journalPath(path));
}

/** Removes the owner note that `openJournal` wrote, and the temporary catalog of a killed run. */
export function removeNotes(path: string): void {
  rmSync(ownerPath(path), { force: true });
  rmSync(`${path}.partial.catalog`, { force: true });
}

function leaveNote(path: string): void {
  const note = `process ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`;
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | noFollow;
    const file = openSync(ownerPath(path), flags);
    writeSync(file, note);
    closeSync(file);
  } catch {
    // It is only a courtesy: the lock holds without it.
  }
}

/** Opens the journal, which locks it, and leaves a note of who has it for whoever is refused. */
export function openJournal(path: string): Journal {
  try {
    const journal = Journal.open(journalPath(path));
    leaveNote(path);
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
      // Then it stays unnamed.
    }
    throw new AirliftError('busy', `write ${path}: ${owner} is writing it`, {
      cause: error,
      hint: 'wait for it to end, or choose another name',
    });
  }
}

/** Refuses to go on with what an interrupted run was asked for in other words. */
export function refuseOther(path: string, planned: string, asked: string, canRefresh: boolean): never {
  const refresh = canRefresh ? 'add `refresh` to plan anew and keep the blobs that still fit, ' : '';
  throw new AirliftError(
    'conflict',
    `write ${path}: an unfinished export of something else is there; got ${asked}, want ${planned}`,
    {
      hint: `run the earlier command again to finish it, ${refresh}or remove ${path}.partial and ${journalPath(path)} to start over`,
    },
  );
}

/** Refuses a name that is taken, be it by a link that leads nowhere. */
export async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw ioError(`open ${path}`, error);
  }
  throw new AirliftError('exists', `write ${path}: it exists already`, {
    hint: '`force` replaces it; or choose another name',
  });
}

/**
 * Refuses a directory where a file is to be written, before anything is fetched for it.
 * @param flag the flag that named it, for the hint
 * @throws AirliftError `usage` that names a file to use
 */
export async function refuseDirectory(path: string, flag: string, example: string): Promise<void> {
  const isDirectory =
    /[/\\]$/.test(path) ||
    (await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    ));
  if (!isDirectory) return;
  throw new AirliftError('usage', `write ${path}: a directory; want a file`, {
    hint: `name a file in it: ${flag} ${join(path, example)}`,
  });
}

/** Waits until a new or renamed entry of a directory is on the disk, where the system can. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(dirname(path), 'r');
    await directory.sync().finally(() => directory.close());
  } catch {
    // Some filesystems and Windows have no sync of directories.
  }
}

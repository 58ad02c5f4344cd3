import { open, rename, rm } from 'node:fs/promises';
import { AirliftError, messageOf } from '../errors.js';

/**
 * Writes a lock, whole or not at all: the list of an export is often the lock that it writes anew.
 * @throws AirliftError `io`
 */
export async function writeLock(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  try {
    const file = await open(fresh, 'w');
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh, path);
  } catch (cause) {
    await rm(fresh, { force: true });
    throw new AirliftError('io', `write lock ${path}: ${messageOf(cause)}`, { cause });
  }
}

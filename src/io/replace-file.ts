import { open, rename, rm, writeFile } from 'node:fs/promises';

/**
 * Replaces a file atomically: after a crash its path holds the whole old content or the whole new one.
 * @param content the text, or its pieces
 * @param temporary path for the new content until it is complete, on the same filesystem; an existing file there is removed
 * @param mode permissions of the file
 * @throws the system's error; the temporary file is then removed
 */
export async function replaceFile(
  path: string,
  temporary: string,
  content: string | Uint8Array | Iterable<string>,
  mode = 0o666,
): Promise<void> {
  try {
    await rm(temporary, { force: true });
    // `wx`: never writes through a link that another user creates at this path.
    const file = await open(temporary, 'wx', mode);
    try {
      await writeFile(file, content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

import { readFile, stat } from 'node:fs/promises';
import { AirliftError, messageOf } from '../errors.js';

/**
 * Reads a whole file.
 * @param name what it is, for errors
 * @param most bytes
 * @throws AirliftError `input` if it is larger, `io`
 */
export async function readSmallFile(path: string, name: string, most: number): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > most)
      throw new AirliftError('input', `read ${name}: too large; got ${size} bytes, want at most ${most}`);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof AirliftError) throw cause;
    throw new AirliftError('io', `read ${name}: ${messageOf(cause)}`, { cause, hint: 'check the path' });
  }
}

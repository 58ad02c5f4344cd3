import { readFile, stat } from 'node:fs/promises';
import { AirliftError, messageOf } from '../errors.js';

/**
 * Reads a small file of text.
 * @param name what it is, for errors
 * @param most bytes
 * @throws AirliftError `input` if it is larger or not UTF-8, `io`
 */
export async function readText(path: string, name: string, most: number): Promise<string> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > most)
      throw new AirliftError('input', `read ${name}: too large; got ${size} bytes, want at most ${most}`);
    bytes = await readFile(path);
  } catch (cause) {
    if (cause instanceof AirliftError) throw cause;
    throw new AirliftError('io', `read ${name}: ${messageOf(cause)}`, { cause, hint: 'check the path' });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new AirliftError('input', `read ${name}: not text in UTF-8`, { cause });
  }
}

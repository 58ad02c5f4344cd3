import { AirliftError } from '../errors.js';
import { readSmallFile } from '../io/small-file.js';

/**
 * Reads a small file of text.
 * @param name what it is, for errors
 * @param most bytes
 * @throws AirliftError `input` if it is larger or not UTF-8, `io`
 */
export async function readText(path: string, name: string, most: number): Promise<string> {
  const bytes = await readSmallFile(path, name, most);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new AirliftError('input', `read ${name}: not text in UTF-8`, { cause });
  }
}

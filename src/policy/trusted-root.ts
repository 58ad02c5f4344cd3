import { maxTrustedRoot } from '../bundle/format/format.js';
import { readText } from './read-text.js';

/**
 * Reads a trusted root of sigstore and checks that it is one.
 * @returns the text of the file
 * @throws AirliftError `input`, `io`
 */
export async function readTrustedRoot(path: string): Promise<string> {
  const text = await readText(path, `trusted root ${path}`, maxTrustedRoot);
  // The library is large, and few commands need it.
  const { KeylessAuthority } = await import('../signing/keyless.js');
  KeylessAuthority.of(Buffer.from(text), path, []);
  return text;
}

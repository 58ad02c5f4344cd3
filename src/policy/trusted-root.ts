import { readFile, stat } from 'node:fs/promises';
import { maxTrustedRoot } from '../bundle/format/format.js';
import { AirliftError, messageOf } from '../errors.js';

/** Reads a trusted root as text, at most `maxTrustedRoot` bytes. */
async function readText(path: string): Promise<string> {
  const name = `trusted root ${path}`;
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > maxTrustedRoot)
      throw new AirliftError(
        'input',
        `read ${name}: too large; got ${size} bytes, want at most ${maxTrustedRoot}`,
      );
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

/**
 * Reads a trusted root of sigstore and checks that it is one.
 * @returns the text of the file
 * @throws AirliftError `input`, `io`
 */
export async function readTrustedRoot(path: string): Promise<string> {
  const text = await readText(path);
  // The library is large, and few commands need it.
  const { KeylessAuthority } = await import('../signing/keyless.js');
  KeylessAuthority.of(Buffer.from(text), path, { isSubject: () => false, isIssuer: () => false });
  return text;
}

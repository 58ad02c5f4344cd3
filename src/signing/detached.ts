import { open, opendir } from 'node:fs/promises';
import { constants } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { AirliftError, isMissingPath, messageOf } from '../errors.js';
import { maxSignatureFile } from './minisign-text.js';
import type { FoundSignature } from './signatures.js';

/** The most signature files beside a file. */
const maxFiles = 64;

/** Names that other files beside a bundle have, which may be signed themselves. */
const otherFiles: ReadonlySet<string> = new Set(['volumes', 'partial']);

/** A name of a second signature: `site.tar.NAME.minisig`. */
const signatureName = /^[A-Za-z0-9][A-Za-z0-9_@+-]{0,63}$/;

/**
 * Returns the path of a signature beside a file: `FILE.minisig`, or `FILE.NAME.minisig`.
 * @param extension `minisig`, or `sig` for other formats
 * @throws AirliftError `usage` for a name that would not be found again
 */
export function signaturePath(path: string, extension: 'minisig' | 'sig', name: string | undefined): string {
  if (name === undefined) return `${path}.${extension}`;
  if (!signatureName.test(name) || otherFiles.has(name))
    throw new AirliftError(
      'usage',
      `sign as ${JSON.stringify(name.slice(0, 100))}: want a short name of letters, digits, - and _`,
      { hint: 'name who signs, such as officer' },
    );
  return `${path}.${name}.${extension}`;
}

/** Reads a file up to one byte over the limit, so that its parser refuses a larger one. */
async function readStart(path: string): Promise<Buffer> {
  try {
    // A pipe would block.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(
        Buffer.alloc(maxSignatureFile + 1),
        0,
        maxSignatureFile + 1,
        0,
      );
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Lists the signatures beside a file by their names: `FILE.minisig`, `FILE.sig`, `FILE.NAME.minisig` and `FILE.NAME.sig`.
 * @throws AirliftError `input` for too many files, `io`
 */
export async function listDetached(path: string): Promise<string[]> {
  const [directory, base] = [dirname(path), basename(path)];
  const names: string[] = [];
  try {
    for await (const entry of await opendir(directory)) {
      const { name } = entry;
      if (entry.isDirectory() || !name.startsWith(`${base}.`)) continue;
      const [, own, extension] = /^(?:(.+)\.)?(minisig|sig)$/.exec(name.slice(base.length + 1)) ?? [];
      if (extension === undefined) continue;
      if (own !== undefined && (!signatureName.test(own) || otherFiles.has(own))) continue;
      names.push(name);
      if (names.length > maxFiles)
        throw new AirliftError('input', `read the signatures of ${path}: more than ${maxFiles} files`);
    }
  } catch (cause) {
    if (cause instanceof AirliftError) throw cause;
    if (isMissingPath(cause)) return [];
    throw new AirliftError('io', `read ${directory}: ${messageOf(cause)}`, { cause });
  }
  return names.sort();
}

/**
 * Reads the signatures beside a file.
 * @throws AirliftError `input` for too many or too large files, `io`
 */
export async function findDetached(path: string): Promise<FoundSignature[]> {
  const found: FoundSignature[] = [];
  for (const name of await listDetached(path)) {
    const place = join(dirname(path), name);
    found.push({ place, bytes: await readStart(place) });
  }
  return found;
}

import { randomBytes } from 'node:crypto';
import { readFile, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isAbsent, makeDirectory } from '../../io/directories.js';
import { replaceFile } from '../../io/replace-file.js';
import { AirliftError, messageOf } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';

/** The content of docker's `config.json` or containers' `auth.json` (containers-auth.json(5)). */
export type AuthFileContent = Record<string, unknown>;

const otherFile = 'pass another file with `authFiles`';

/**
 * Reads an auth file.
 * @returns undefined if the file does not exist or is empty
 * @throws AirliftError `io` if it cannot be read, `input` if it is not a JSON object
 */
export async function readAuthFile(path: string): Promise<AuthFileContent | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (await isAbsent(path, cause)) return undefined;
    throw new AirliftError('io', `read auth file ${path}: ${messageOf(cause)}`, { cause, hint: otherFile });
  }
  if (text.trim() === '') return undefined;
  try {
    const json = parseJson(text, path);
    if (isObject(json)) return json;
  } catch {
    // Reported below: the parser's message would quote the file.
  }
  throw new AirliftError('input', `parse auth file ${path}: not a JSON object`);
}

/**
 * Writes an auth file atomically, readable only by its owner. If the path is a symbolic link, its target is replaced.
 * @throws AirliftError `io`
 */
export async function writeAuthFile(path: string, content: AuthFileContent): Promise<void> {
  try {
    await makeDirectory(dirname(path), 0o700);
    const target = await realpath(path).catch(() => path);
    const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
    await replaceFile(target, temporary, `${JSON.stringify(content, undefined, '\t')}\n`, 0o600);
  } catch (cause) {
    throw new AirliftError('io', `write auth file ${path}: ${messageOf(cause)}`, {
      cause,
      hint: otherFile,
    });
  }
}

import { readFile } from 'node:fs/promises';
import { AirliftError, messageOf } from '../errors.js';
import { readSecretKey, type BundleSigning, type SecretKey } from '../index.js';
import { keyPasswordFileOf } from './environment.js';
import { askPassword } from './password.js';
import { version } from './version.js';

const maxLength = 64 * 1024;
const unencryptedHint = '--unencrypted writes the key without a password';

/** Reads the password of a key from the file that the environment names; undefined if it names none. */
async function passwordFromFile(): Promise<string | undefined> {
  const path = keyPasswordFileOf(process.env);
  if (path === undefined) return undefined;
  try {
    const text = await readFile(path, 'utf8');
    if (text.length > maxLength) throw new Error(`longer than ${maxLength} characters`);
    return text.replace(/\r?\n$/, '');
  } catch (cause) {
    throw new AirliftError('io', `read the password in ${path}: ${messageOf(cause)}`, {
      cause,
      hint: 'AIRLIFT_KEY_PASSWORD_FILE names a file with the password on its first line',
    });
  }
}

/** @param others what else the user can do, for the hint */
function noTerminalError(...others: string[]): AirliftError {
  return new AirliftError('usage', 'read the password of the key: standard input is not a terminal', {
    hint: ['AIRLIFT_KEY_PASSWORD_FILE=FILE names a file with the password', ...others].join('; '),
  });
}

/** Reads a secret key, and asks for its password if it has one. */
export async function openSigningKey(path: string, signal: AbortSignal): Promise<SecretKey> {
  const key = await readSecretKey(path);
  if (!key.isEncrypted) return await key.unlock();
  const stored = await passwordFromFile();
  if (stored === undefined && !process.stdin.isTTY) throw noTerminalError();
  return await key.unlock(stored ?? (await askPassword(`password for ${path}: `, signal)));
}

/** Opens the key of `--sign`, which signs a bundle while it is written; undefined without the flag. */
export async function bundleSigningOf(
  { sign }: { readonly sign?: string | undefined },
  signal: AbortSignal,
): Promise<BundleSigning | undefined> {
  if (sign === undefined) return undefined;
  return { key: await openSigningKey(sign, signal), tool: `airlift:${version()}` };
}

/** Returns the password for a new key; the user types it twice. */
export async function newKeyPassword(signal: AbortSignal): Promise<string> {
  const stored = await passwordFromFile();
  if (stored === undefined && !process.stdin.isTTY) throw noTerminalError(unencryptedHint);
  const password = stored ?? (await askPassword('password for the new key: ', signal));
  const isSame =
    stored !== undefined || (await askPassword('the same password again: ', signal)) === password;
  if (!isSame) throw new AirliftError('usage', 'create a key: the two passwords differ');
  if (password === '')
    throw new AirliftError('usage', 'create a key: the password is empty', { hint: unencryptedHint });
  return password;
}

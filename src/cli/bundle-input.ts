import { createWriteStream, fstatSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import { dash } from './dash.js';

/** What messages and summaries call a bundle that comes from `-`. */
export const standardInputName = 'standard input';

function isRedirectedFile(): boolean {
  try {
    return process.platform === 'linux' && fstatSync(0).isFile();
  } catch {
    return false;
  }
}

/** Names the stream where an error names the file that it is stored in. */
function rethrow(error: unknown, path: string): never {
  if (!(error instanceof AirliftError)) throw error;
  const named = (text: string): string => text.replaceAll(path, standardInputName);
  const [message = '', ...lines] = error.lines.map(named);
  const hint = error.hint === undefined ? undefined : named(error.hint);
  throw new AirliftError(error.code, message, { lines, hint, cause: error.cause });
}

/**
 * Gives the path of a bundle to `use`. A bundle is read here and there, by several threads: a stream is stored in the temporary
 * directory first, and removed again.
 * @throws AirliftError `io`, `no-space` where the stream cannot be stored; `interrupted`
 */
export async function withBundle<T>(
  typed: string,
  signal: AbortSignal,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (typed !== dash) return use(typed);
  const useUnnamed = (path: string): Promise<T> => use(path).catch((error: unknown) => rethrow(error, path));
  if (isRedirectedFile()) return useUnnamed('/proc/self/fd/0');
  const folder = tmpdir();
  let directory: string | undefined;
  try {
    try {
      directory = await mkdtemp(join(folder, 'airlift-stream-'));
      const path = join(directory, 'bundle.tar');
      await pipeline(process.stdin, createWriteStream(path, { mode: 0o600 }), { signal });
      return await useUnnamed(path);
    } catch (cause) {
      if (cause instanceof AirliftError) throw cause;
      if (signal.aborted)
        throw new AirliftError('interrupted', `read ${standardInputName}: interrupted`, { cause });
      const isFull = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(cause) ?? '');
      throw new AirliftError(
        isFull ? 'no-space' : 'io',
        `store ${standardInputName} in ${folder}: ${messageOf(cause)}`,
        { cause, hint: 'set TMPDIR to a directory with room for the bundle, or name the file itself' },
      );
    }
  } finally {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  }
}

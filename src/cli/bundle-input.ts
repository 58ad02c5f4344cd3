import { fstatSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { AirliftError } from '../errors.js';
import { withStoredStream } from '../io/stored-stream.js';
import { dash } from './stdin-dash.js';

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
  const hint = 'set TMPDIR to a directory with room for the bundle, or name the file itself';
  return withStoredStream(
    process.stdin,
    { folder: tmpdir(), name: standardInputName, hint, signal },
    useUnnamed,
  );
}

import { fstatSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { AirliftError } from '../errors.js';
import { withStoredStream } from '../io/stored-stream.js';
import { dash } from './stdin-dash.js';

/** Name of the bundle `-` in messages and summaries. */
export const standardInputName = 'standard input';

function isRedirectedFile(): boolean {
  try {
    return process.platform === 'linux' && fstatSync(0).isFile();
  } catch {
    return false;
  }
}

/** Rethrows an error with the name of the stream in place of its temporary file. */
function rethrow(error: unknown, path: string): never {
  if (!(error instanceof AirliftError)) throw error;
  const named = (text: string): string => text.replaceAll(path, standardInputName);
  const [message = '', ...lines] = error.lines.map(named);
  const hint = error.hint === undefined ? undefined : named(error.hint);
  throw new AirliftError(error.code, message, { lines, hint, cause: error.cause });
}

/** Names standard input in a result instead of the temporary file that it was stored in. */
export function withInputName<T extends { readonly bundle: string }>(argument: string, found: T): T {
  return argument === dash ? { ...found, bundle: standardInputName } : found;
}

/**
 * Calls `use` with the path of a bundle. Several threads read a bundle at random positions, so a stream is first stored in the
 * temporary directory, and removed afterwards.
 * @throws AirliftError `io` or `no-space` if the stream cannot be stored; `interrupted`
 */
export async function withBundle<T>(
  argument: string,
  signal: AbortSignal,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (argument !== dash) return use(argument);
  const useUnnamed = (path: string): Promise<T> => use(path).catch((error: unknown) => rethrow(error, path));
  if (isRedirectedFile()) return useUnnamed('/proc/self/fd/0');
  const hint = 'set TMPDIR to a directory with enough space for the bundle, or name the file';
  return withStoredStream(
    process.stdin,
    { folder: tmpdir(), name: standardInputName, hint, signal },
    useUnnamed,
  );
}

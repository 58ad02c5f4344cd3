import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AirliftError, checkInterrupted, isOutOfSpace, messageOf } from '../errors.js';

export interface StoredStreamOptions {
  /** The directory in which a subdirectory for the stream is created. */
  readonly folder: string;
  /** The name of the stream in messages. */
  readonly name: string;
  /** The hint for the error that it cannot be stored. */
  readonly hint: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Stores a bundle from a stream, passes the path of the file to `use`, and removes the file afterwards. A bundle needs random access by
 * several threads, which a stream does not offer.
 * @throws AirliftError `io`, `no-space` where the stream cannot be stored; `interrupted`; errors of `use`
 */
export async function withStoredStream<T>(
  source: Readable,
  { folder, name, hint, signal }: StoredStreamOptions,
  use: (path: string) => Promise<T>,
): Promise<T> {
  let directory: string | undefined;
  try {
    let path: string;
    try {
      directory = await mkdtemp(join(folder, 'airlift-stream-'));
      path = join(directory, 'bundle.tar');
      await pipeline(source, createWriteStream(path, { mode: 0o600 }), { signal });
    } catch (cause) {
      checkInterrupted(signal, `read ${name}`);
      throw new AirliftError(
        isOutOfSpace(cause) ? 'no-space' : 'io',
        `store ${name} in ${folder}: ${messageOf(cause)}`,
        { cause, hint },
      );
    }
    return await use(path);
  } finally {
    // Some systems cannot remove an open file; the result or error of `use` still counts.
    if (directory !== undefined) await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

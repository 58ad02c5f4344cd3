import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AirliftError, checkInterrupted, isOutOfSpace, messageOf } from '../errors.js';

export interface StoredStreamOptions {
  /** The directory in which the stream is stored, in a directory of its own. */
  readonly folder: string;
  /** What messages call the stream. */
  readonly name: string;
  /** What to do where it cannot be stored. */
  readonly hint: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Stores a bundle that comes as a stream, gives the path of the file to `use`, and removes the file again. A bundle is read here and
 * there, by several threads, as no stream can be.
 * @throws AirliftError `io`, `no-space` where the stream cannot be stored; `interrupted`; and whatever `use` throws
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
    // Where a file that is open cannot be removed, what `use` gave or threw still counts.
    if (directory !== undefined) await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

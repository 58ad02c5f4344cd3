import { Worker } from 'node:worker_threads';
import type { Compression } from '../compression/decompress.js';
import type { ScratchEnd } from '../io/scratch.js';
import { AirliftError, checkInterrupted, fromPlainError, type PlainError } from '../../errors.js';

/** A compressed file to unpack, which stays open. */
export interface UnpackFileTask {
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  readonly compression: Exclude<Compression, 'none'>;
  /** Where to write the content. */
  readonly end: ScratchEnd;
  /** Names the file in messages. */
  readonly what: string;
}

/** The message of the worker thread: the bytes written, or why the file could not be unpacked. */
export type UnpackFileAnswer = { readonly size: number } | { readonly failure: PlainError };

/**
 * Decompresses a file into a scratch file, in a worker thread that reads and writes both: passing the content through this thread takes a
 * fifth more processor time for zstd.
 * @returns the bytes written
 * @throws AirliftError `damaged` where the file is truncated, corrupt or a decompression bomb; `unsupported`, `no-space`, `io`, `interrupted`
 */
export async function unpackFile(task: UnpackFileTask, signal: AbortSignal | undefined): Promise<number> {
  const action = `read ${task.what}`;
  checkInterrupted(signal, action);
  const worker = new Worker(new URL('./unpack-file-worker.js', import.meta.url), {
    // Flags of this process, such as --input-type, do not apply to a worker file.
    execArgv: [],
    workerData: task,
    // Its objects live for milliseconds: a larger young generation would only hold memory that is never used.
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
  const stop = (): void => void worker.terminate();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const answer = await new Promise<UnpackFileAnswer>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', () => reject(new AirliftError('io', `${action}: the worker thread ended`)));
    });
    if ('failure' in answer) throw fromPlainError(answer.failure);
    return answer.size;
  } catch (error) {
    checkInterrupted(signal, action);
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    // It uses the descriptors of both files, which are closed next.
    await worker.terminate();
  }
}

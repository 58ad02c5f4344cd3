import { Worker } from 'node:worker_threads';
import {
  AirliftError,
  checkInterrupted,
  fromPlainError,
  interruption,
  type PlainError,
} from '../../errors.js';
import type { DigestAlgorithm } from '../../oci/digest.js';

/** A range of the bundle to hash. */
export interface HashTask {
  readonly id: number;
  readonly position: number;
  readonly size: number;
  readonly algorithm: DigestAlgorithm;
}

export interface HashResult {
  readonly id: number;
  readonly hex: string;
  /** Bytes hashed; fewer than the range has if the file ends before. */
  readonly bytes: number;
}

/** A message of a worker: the results of a batch (it is then ready for the next), bytes hashed since the last message, or a read error. */
export type HashAnswer =
  | { readonly results: readonly HashResult[] }
  | { readonly progress: number }
  | { readonly failure: PlainError };

export interface HashOptions {
  readonly workers: number;
  readonly onResult: (result: HashResult) => void;
  /** Called during a large range with the bytes hashed since the last call; the result of the range covers all of its bytes. */
  readonly onProgress: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** The most ranges in a batch. */
const batchTasks = 128;
/** Bytes that complete a batch. */
const batchBytes = 8 * 1024 * 1024;

function nextBatch(tasks: Iterator<HashTask>): HashTask[] {
  const batch: HashTask[] = [];
  for (let bytes = 0; batch.length < batchTasks && bytes < batchBytes;) {
    const next = tasks.next();
    if (next.done === true) break;
    batch.push(next.value);
    bytes += next.value.size;
  }
  return batch;
}

/**
 * Hashes ranges of a file in worker threads, approximately in order.
 * @throws AirliftError `usage` for a wrong number of workers, `interrupted`, `io`
 */
export async function hashRanges(
  path: string,
  tasks: Iterable<HashTask>,
  options: HashOptions,
): Promise<void> {
  if (!Number.isInteger(options.workers) || options.workers < 1)
    throw new AirliftError(
      'usage',
      `read ${path}: wrong number of workers; got ${options.workers}, want at least 1`,
    );
  const queue = tasks[Symbol.iterator]();
  const workers: Worker[] = [];
  const { signal } = options;
  checkInterrupted(signal, `read ${path}`);
  let stop: (() => void) | undefined;
  try {
    await new Promise<void>((done, fail) => {
      stop = () => {
        if (signal !== undefined) fail(interruption(`read ${path}`, signal));
      };
      signal?.addEventListener('abort', stop);
      let working = options.workers;
      const receive = (worker: Worker, answer: HashAnswer): void => {
        if ('progress' in answer) return options.onProgress(answer.progress);
        if ('failure' in answer) return fail(fromPlainError(answer.failure));
        answer.results.forEach(options.onResult);
        const batch = nextBatch(queue);
        if (batch.length > 0) return worker.postMessage(batch);
        working--;
        if (working === 0) done();
      };
      for (let count = 0; count < options.workers; count++) {
        const worker = new Worker(new URL('./hash-worker.js', import.meta.url), { workerData: { path } });
        workers.push(worker);
        worker.on('error', fail);
        worker.on('message', (answer: HashAnswer) => {
          try {
            receive(worker, answer);
          } catch (error) {
            fail(error as Error);
          }
        });
      }
    });
  } finally {
    if (stop !== undefined) signal?.removeEventListener('abort', stop);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

import { Worker } from 'node:worker_threads';
import { AirliftError, type ErrorCode } from '../../errors.js';
import type { DigestAlgorithm } from '../../oci/digest.js';

/** A range of the bundle that is to be hashed. */
export interface HashTask {
  readonly id: number;
  readonly position: number;
  readonly size: number;
  readonly algorithm: DigestAlgorithm;
}

export interface HashResult {
  readonly id: number;
  readonly hex: string;
  /** Bytes there were; fewer than asked where the file ends. */
  readonly bytes: number;
}

/** What a worker says: it is done with a batch (and wants the next), it got on, or it could not read. */
export type HashAnswer =
  | { readonly results: readonly HashResult[] }
  | { readonly progress: number }
  | {
      readonly failure: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint: string | undefined;
      };
    };

export interface HashOptions {
  readonly workers: number;
  readonly onResult: (result: HashResult) => void;
  /** Bytes of a large range that were hashed before its end; the end tells the whole. */
  readonly onProgress: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Small ranges go to a worker together, up to so many … */
const batchTasks = 128;
/** … or until they have so many bytes. */
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
 * Hashes ranges of a file in worker threads, in about the order given.
 * @throws AirliftError `interrupted` where `signal` says so, `io`
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
  const interrupted = (): AirliftError => new AirliftError('interrupted', `read ${path}: interrupted`);
  if (options.signal?.aborted === true) throw interrupted();
  let stop: (() => void) | undefined;
  try {
    await new Promise<void>((done, fail) => {
      stop = () => {
        fail(interrupted());
      };
      options.signal?.addEventListener('abort', stop);
      let working = options.workers;
      const take = (worker: Worker, answer: HashAnswer): void => {
        if ('progress' in answer) return options.onProgress(answer.progress);
        if ('failure' in answer) {
          const { code, message, hint } = answer.failure;
          return fail(new AirliftError(code, message, { hint }));
        }
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
            take(worker, answer);
          } catch (error) {
            fail(error as Error);
          }
        });
      }
    });
  } finally {
    if (stop !== undefined) options.signal?.removeEventListener('abort', stop);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

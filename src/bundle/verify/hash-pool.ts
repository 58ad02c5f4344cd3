import { Worker } from 'node:worker_threads';
import {
  AirliftError,
  checkInterrupted,
  fromPlainError,
  interruption,
  type PlainError,
} from '../../errors.js';
import { pathOf, type BundlePlace } from '../format/volumes/files.js';
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

/** A message of a worker: the results of a batch, bytes hashed since the last message, or a read error. */
export type HashAnswer =
  | { readonly results: readonly HashResult[] }
  | { readonly progress: number }
  | { readonly failure: PlainError };

export interface HashOptions {
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

/** Worker threads that hash ranges of a file. They start at once, so that they are ready by the time that the ranges are known. */
export class HashPool {
  private readonly path: string;
  readonly #workers: readonly Worker[];
  /** Rejects if a worker fails. */
  readonly #failure: Promise<never>;

  /** @throws AirliftError `usage` for a wrong number of workers */
  constructor(place: BundlePlace, workers: number) {
    this.path = pathOf(place);
    if (!Number.isInteger(workers) || workers < 1)
      throw new AirliftError(
        'usage',
        `read ${this.path}: wrong number of workers; got ${workers}, want at least 1`,
      );
    const module = new URL('./hash-worker.js', import.meta.url);
    this.#workers = Array.from({ length: workers }, () => new Worker(module, { workerData: { place } }));
    this.#failure = new Promise((_, fail) => {
      for (const worker of this.#workers) worker.on('error', fail);
    });
    // A failure counts only if the workers are used.
    this.#failure.catch(() => undefined);
  }

  /**
   * Hashes ranges of the file, approximately in order. Call it once.
   * @throws AirliftError `interrupted`, `io`; what `tasks` and `onResult` throw
   */
  async hash(tasks: Iterable<HashTask>, options: HashOptions): Promise<void> {
    const { signal } = options;
    checkInterrupted(signal, `read ${this.path}`);
    let stop: (() => void) | undefined;
    const interrupted = new Promise<never>((_, fail) => {
      stop = () => signal !== undefined && fail(interruption(`read ${this.path}`, signal));
      signal?.addEventListener('abort', stop);
    });
    const queue = tasks[Symbol.iterator]();
    const finished = Promise.all(this.#workers.map((worker) => hashBatches(worker, queue, options)));
    try {
      await Promise.race([finished, this.#failure, interrupted]);
    } finally {
      if (stop !== undefined) signal?.removeEventListener('abort', stop);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** Gives batches of the queue to a worker, one after the other, until the queue is empty. */
function hashBatches(worker: Worker, queue: Iterator<HashTask>, options: HashOptions): Promise<void> {
  return new Promise((done, fail) => {
    const giveNext = (): void => {
      const batch = nextBatch(queue);
      if (batch.length > 0) worker.postMessage(batch);
      else done();
    };
    const receive = (answer: HashAnswer): void => {
      if ('progress' in answer) return options.onProgress(answer.progress);
      if ('failure' in answer) return fail(fromPlainError(answer.failure));
      answer.results.forEach(options.onResult);
      giveNext();
    };
    worker.on('message', (answer: HashAnswer) => {
      try {
        receive(answer);
      } catch (error) {
        fail(error as Error);
      }
    });
    giveNext();
  });
}

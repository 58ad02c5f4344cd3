import { Worker } from 'node:worker_threads';
import { AirliftError, checkInterrupted, fromPlainError, type PlainError } from '../../errors.js';
import { untilAborted } from '../../oci/pause.js';
import { BundleFile } from '../format/file.js';
import { pathOf, type BundlePlace } from '../format/volumes/files.js';
import { chunkSize, hashRange, type HashResult, type HashTask } from './hash-range.js';

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
/** The most bytes that the calling thread hashes itself: that takes milliseconds, and starting a thread 60 ms of CPU time. */
const smallBytes = 4 * 1024 * 1024;

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
  /** None if the calling thread hashes. */
  readonly #workers: readonly Worker[];
  /** Rejects if a worker fails. */
  readonly #failure: Promise<never>;

  /**
   * @param bytes of all ranges at most, if that is known
   * @throws AirliftError `usage` for a wrong number of workers
   */
  constructor(
    private readonly place: BundlePlace,
    workers: number,
    bytes = Infinity,
  ) {
    this.path = pathOf(place);
    if (!Number.isInteger(workers) || workers < 1)
      throw new AirliftError(
        'usage',
        `read ${this.path}: wrong number of workers; got ${workers}, want at least 1`,
      );
    const module = new URL('./hash-worker.js', import.meta.url);
    const count = bytes <= smallBytes ? 0 : workers;
    this.#workers = Array.from({ length: count }, () => new Worker(module, { workerData: { place } }));
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
    if (this.#workers.length === 0) return this.#hashHere(tasks[Symbol.iterator](), options);
    const queue = tasks[Symbol.iterator]();
    const finished = Promise.all(this.#workers.map((worker) => hashBatches(worker, queue, options)));
    await untilAborted(Promise.race([finished, this.#failure]), `read ${this.path}`, signal);
  }

  async #hashHere(queue: Iterator<HashTask>, { onResult, onProgress, signal }: HashOptions): Promise<void> {
    const file = await BundleFile.open(this.place, 'r');
    try {
      const chunk = Buffer.allocUnsafe(chunkSize);
      for (let batch = nextBatch(queue); batch.length > 0; batch = nextBatch(queue)) {
        for (const task of batch) onResult(hashRange(file, task, chunk, onProgress));
        // Lets signals and timers through.
        await new Promise(setImmediate);
        checkInterrupted(signal, `read ${this.path}`);
      }
    } finally {
      await file.close();
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

import { Worker } from 'node:worker_threads';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { checkInterrupted, fromPlainError, type PlainError } from '../errors.js';
import type { DigestAlgorithm } from '../oci/digest.js';
import { untilAborted } from '../oci/pause.js';
import type { UnpackedLayer, UnpackLimits } from './unpack-layer.js';

/** A layer to unpack. */
export interface UnpackTask {
  /** Position of its content in the file. */
  readonly at: number;
  readonly size: number;
  readonly algorithms: readonly DigestAlgorithm[];
  readonly limits?: UnpackLimits | undefined;
}

/** A message of a worker: bytes read since the last one, with the result at the end of a layer; or an error. */
export type UnpackAnswer =
  { readonly progress: number; readonly result?: UnpackedLayer } | { readonly failure: PlainError };

export interface UnpackRun<T extends UnpackTask> {
  readonly onResult: (task: T, result: UnpackedLayer) => void;
  readonly onBytes: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks layers of a file in worker threads, one in each at a time. Starts no more threads than there are tasks.
 * @param path the file, in messages
 * @throws AirliftError `interrupted`, `io`; what `onResult` throws
 */
export async function unpackAll<T extends UnpackTask>(
  place: BundlePlace,
  path: string,
  tasks: Iterable<T>,
  jobs: number,
  { onResult, onBytes, signal }: UnpackRun<T>,
): Promise<void> {
  checkInterrupted(signal, `read ${path}`);
  const queue = tasks[Symbol.iterator]();
  const workers: Worker[] = [];
  const work = (first: T): Promise<void> =>
    new Promise((done, fail) => {
      const worker = new Worker(new URL('./unpack-worker.js', import.meta.url), { workerData: { place } });
      workers.push(worker);
      let task = first;
      const give = (): void => {
        const { at, size, algorithms, limits } = task;
        worker.postMessage({ at, size, algorithms, limits } satisfies UnpackTask);
      };
      const receive = (answer: UnpackAnswer): void => {
        if ('failure' in answer) return fail(fromPlainError(answer.failure));
        onBytes(answer.progress);
        if (answer.result === undefined) return;
        onResult(task, answer.result);
        const next = queue.next();
        if (next.done === true) return done();
        task = next.value;
        give();
      };
      worker.on('error', fail);
      worker.on('message', (answer: UnpackAnswer) => {
        try {
          receive(answer);
        } catch (error) {
          fail(error as Error);
        }
      });
      give();
    });
  try {
    const running: Promise<void>[] = [];
    for (let at = 0; at < jobs; at++) {
      const first = queue.next();
      if (first.done === true) break;
      running.push(work(first.value));
    }
    await untilAborted(Promise.all(running), `read ${path}`, signal);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

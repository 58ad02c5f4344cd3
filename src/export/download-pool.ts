import { Worker } from 'node:worker_threads';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { Slots } from '../concurrency.js';
import { AirliftError, fromPlainError, messageOf, type PlainError } from '../errors.js';
import type { RegistryHooks, RegistryOptions, RequestTrace } from '../registry/registry.js';
import type { TransferTask } from '../transfer/transfer.js';

/** Start-up data of a download worker. */
export interface DownloadWorkerData {
  /** The file that blobs are written to. */
  readonly place: BundlePlace;
  readonly registry: RegistryOptions;
  readonly retries: number;
  readonly isTraced: boolean;
}

export type ToWorker =
  | { readonly type: 'start'; readonly id: number; readonly task: TransferTask; readonly position: number }
  | { readonly type: 'abort' }
  | { readonly type: 'close' };

export type FromWorker =
  /** The first `bytes` of the blob are written; `checkpoint` is their digest. */
  | {
      readonly type: 'progress';
      readonly id: number;
      readonly bytes: number;
      readonly checkpoint: Uint8Array;
    }
  /** `received` counts the bytes that came over the network. */
  | { readonly type: 'done'; readonly id: number; readonly received: number }
  | { readonly type: 'failed'; readonly id: number; readonly error: PlainError }
  | { readonly type: 'trace'; readonly trace: RequestTrace }
  /** A call of the registry's hook of the same name. */
  | { readonly type: 'warn' | 'note' | 'silence'; readonly text: string };

/** Called with the number of bytes of a blob that are written, and with their digest. */
type OnProgress = (bytes: number, checkpoint: Uint8Array) => void;

interface Pending {
  readonly size: number;
  readonly onProgress: OnProgress;
  readonly resolve: (received: number) => void;
  readonly reject: (error: Error) => void;
}

interface Lane {
  readonly worker: Worker;
  /** Downloads that this worker is running. */
  readonly pending: Map<number, Pending>;
  /** Resolves when the thread has ended. */
  readonly ended: Promise<void>;
}

/** Pending bytes of a worker that justify another one. Starting a thread takes a tenth of a second of CPU time. */
const bytesWorthWorker = 4 * 1024 * 1024;

export interface DownloadPoolOptions extends DownloadWorkerData {
  /** Maximum number of worker threads. */
  readonly workers: number;
  /** Concurrent downloads of all workers together. */
  readonly concurrency: number;
  readonly hooks: RegistryHooks;
}

/** Distributes downloads over worker threads. A thread starts when there is work for it. */
export class DownloadPool {
  readonly #lanes: Lane[] = [];
  readonly #slots: Slots;
  #nextId = 0;
  #isClosing = false;
  #isAborted = false;

  constructor(private readonly options: DownloadPoolOptions) {
    this.#slots = new Slots(options.concurrency);
  }

  /** Returns the least busy worker, or starts one if all are busy. */
  #openLane(): Lane {
    const [idlest] = this.#lanes.toSorted((a, b) => a.pending.size - b.pending.size);
    const bytes = [...(idlest?.pending.values() ?? [])].reduce((sum, { size }) => sum + size, 0);
    const isEnough = bytes < bytesWorthWorker || this.#lanes.length >= this.options.workers;
    if (idlest !== undefined && isEnough) return idlest;
    const lane = this.#startLane();
    this.#lanes.push(lane);
    if (this.#isAborted) this.#post(lane, { type: 'abort' });
    return lane;
  }

  #startLane(): Lane {
    const { place, registry, retries, isTraced } = this.options;
    const workerData: DownloadWorkerData = { place, registry, retries, isTraced };
    // A worker's objects live for milliseconds: a larger young generation would only hold memory that is never used.
    const resourceLimits = { maxYoungGenerationSizeMb: 4 };
    const worker = new Worker(new URL('./download-worker.js', import.meta.url), {
      workerData,
      resourceLimits,
    });
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const lane: Lane = { worker, pending: new Map(), ended };
    worker.on('message', (message: FromWorker) => this.#receive(lane, message));
    worker.on('error', (cause) => this.#fail(lane, messageOf(cause), cause));
    worker.on('exit', (status) => {
      if (!this.#isClosing) this.#fail(lane, `worker ended with status ${status}`, undefined);
    });
    return lane;
  }

  #fail(lane: Lane, happened: string, cause: unknown): void {
    const error = new AirliftError('io', `download: ${happened}`, { cause });
    for (const { reject } of lane.pending.values()) reject(error);
    lane.pending.clear();
  }

  #receive(lane: Lane, message: FromWorker): void {
    switch (message.type) {
      case 'trace':
        this.options.hooks.trace?.(message.trace);
        return;
      case 'warn':
      case 'note':
      case 'silence':
        this.options.hooks[message.type]?.(message.text);
        return;
      case 'progress':
        this.#progress(lane, message);
        return;
      case 'done':
        lane.pending.get(message.id)?.resolve(message.received);
        break;
      case 'failed':
        lane.pending.get(message.id)?.reject(fromPlainError(message.error));
        break;
    }
    lane.pending.delete(message.id);
  }

  #progress(lane: Lane, { id, bytes, checkpoint }: FromWorker & { type: 'progress' }): void {
    const pending = lane.pending.get(id);
    try {
      pending?.onProgress(bytes, checkpoint);
    } catch (error) {
      // If progress cannot be recorded for one blob, it cannot be recorded for the others either.
      pending?.reject(error as Error);
      this.abort();
    }
  }

  /**
   * Downloads one blob to its position in the file.
   * @returns bytes received over the network
   * @throws AirliftError as `transferBlob` and `onProgress` do
   */
  async download(task: TransferTask, position: number, onProgress: OnProgress): Promise<number> {
    return this.#slots.run(async () => {
      const lane = this.#openLane();
      const id = this.#nextId++;
      const { size } = task.descriptor;
      return new Promise<number>((resolve, reject) => {
        lane.pending.set(id, { size, onProgress, resolve, reject });
        this.#post(lane, { type: 'start', id, task, position });
      });
    });
  }

  #post(lane: Lane, message: ToWorker): void {
    lane.worker.postMessage(message);
  }

  /** Stops every download after the chunk that it is writing; they fail with `interrupted`. */
  abort(): void {
    this.#isAborted = true;
    for (const lane of this.#lanes) this.#post(lane, { type: 'abort' });
  }

  /** Waits for running downloads, then ends the workers. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const lane of this.#lanes) this.#post(lane, { type: 'close' });
    await Promise.all(this.#lanes.map((lane) => lane.ended));
  }
}

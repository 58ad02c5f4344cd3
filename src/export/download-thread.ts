import { Worker } from 'node:worker_threads';
import { AirliftError, fromPlainError, messageOf, type PlainError } from '../errors.js';
import type { RegistryHooks, RequestTrace } from '../registry/registry.js';
import type { TransferTask } from '../transfer/transfer.js';
import type { DownloaderOptions, OnProgress } from './downloader.js';

/** Start-up data of a download worker. */
export interface DownloadWorkerData extends DownloaderOptions {
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

interface Pending {
  readonly onProgress: OnProgress;
  readonly resolve: (received: number) => void;
  readonly reject: (error: Error) => void;
}

/** A downloader in a worker thread. */
export class DownloadThread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  /** Resolves when the thread has ended. */
  readonly #ended: Promise<void>;
  #nextId = 0;
  #isClosing = false;
  /** The error of a thread that ended although nothing had closed it. */
  #failure: AirliftError | undefined;

  constructor(
    options: DownloaderOptions,
    private readonly hooks: RegistryHooks,
  ) {
    const workerData: DownloadWorkerData = { ...options, isTraced: hooks.trace !== undefined };
    // Its objects live for milliseconds: a larger young generation would only hold memory that is never used.
    const resourceLimits = { maxYoungGenerationSizeMb: 4 };
    this.#worker = new Worker(new URL('./download-worker.js', import.meta.url), {
      workerData,
      resourceLimits,
    });
    this.#ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.on('message', (message: FromWorker) => this.#receive(message));
    this.#worker.on('error', (cause) => this.#fail(messageOf(cause), cause));
    this.#worker.on('exit', (status) => {
      if (!this.#isClosing) this.#fail(`worker ended with status ${status}`, undefined);
    });
  }

  /** Downloads one blob, as `Downloader.download` does. */
  async download(task: TransferTask, position: number, onProgress: OnProgress): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = this.#nextId++;
    return new Promise<number>((resolve, reject) => {
      this.#pending.set(id, { onProgress, resolve, reject });
      this.#post({ type: 'start', id, task, position });
    });
  }

  abort(): void {
    this.#post({ type: 'abort' });
  }

  /** Call it once no download runs. Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#post({ type: 'close' });
    await this.#ended;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #fail(happened: string, cause: unknown): void {
    this.#failure ??= new AirliftError('io', `download: ${happened}`, { cause });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'trace':
        this.hooks.trace?.(message.trace);
        return;
      case 'warn':
      case 'note':
      case 'silence':
        this.hooks[message.type]?.(message.text);
        return;
      case 'progress':
        this.#pending.get(message.id)?.onProgress(message.bytes, message.checkpoint);
        return;
      case 'done':
        this.#pending.get(message.id)?.resolve(message.received);
        break;
      case 'failed':
        this.#pending.get(message.id)?.reject(fromPlainError(message.error));
        break;
    }
    this.#pending.delete(message.id);
  }
}

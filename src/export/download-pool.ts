import { Slots } from '../concurrency.js';
import type { Registry, RegistryHooks } from '../registry/registry.js';
import type { TransferTask } from '../transfer/transfer.js';
import { DownloadThread } from './download-thread.js';
import { Downloader, type DownloaderOptions, type OnProgress } from './downloader.js';

/** A downloader and what it has to do. */
interface Lane {
  readonly downloader: Downloader | DownloadThread;
  /** Bytes of the blobs that it is downloading. */
  pending: number;
}

/** Pending bytes of a lane that justify another one. Starting a thread takes a tenth of a second of CPU time. */
const bytesWorthThread = 4 * 1024 * 1024;

export interface DownloadPoolOptions extends DownloaderOptions {
  /** Maximum number of threads that download: this one, and worker threads. */
  readonly threads: number;
  /** Concurrent downloads of all threads together. */
  readonly concurrency: number;
  /** The registries for downloads of this thread. They stay open when the pool is closed. */
  readonly source: Registry;
  /** Hooks of the worker threads' registries. */
  readonly hooks: RegistryHooks;
}

/** Distributes downloads over this thread and worker threads. A worker starts when there is work for it. */
export class DownloadPool {
  readonly #lanes: Lane[] = [];
  readonly #slots: Slots;
  #isAborted = false;

  constructor(private readonly options: DownloadPoolOptions) {
    this.#slots = new Slots(options.concurrency);
  }

  /** Returns the least busy lane, or a new one if all are busy. */
  #openLane(): Lane {
    const [idlest] = this.#lanes.toSorted((a, b) => a.pending - b.pending);
    const { place, registry, retries, source, hooks, threads } = this.options;
    const isEnough = (idlest?.pending ?? 0) < bytesWorthThread || this.#lanes.length >= threads;
    if (idlest !== undefined && isEnough) return idlest;
    const options = { place, registry, retries };
    const downloader =
      idlest === undefined ? new Downloader(options, source) : new DownloadThread(options, hooks);
    if (this.#isAborted) downloader.abort();
    const lane = { downloader, pending: 0 };
    this.#lanes.push(lane);
    return lane;
  }

  /**
   * Downloads one blob to its position in the file.
   * @returns bytes received over the network
   * @throws AirliftError as `Downloader.download`. If `onProgress` throws, all downloads stop: progress that cannot be recorded for one blob
   *   cannot be recorded for the others either
   */
  async download(task: TransferTask, position: number, onProgress: OnProgress): Promise<number> {
    return this.#slots.run(async () => {
      const lane = this.#openLane();
      const { size } = task.descriptor;
      let failure: Error | undefined;
      const record: OnProgress = (bytes, checkpoint) => {
        try {
          if (failure === undefined) onProgress(bytes, checkpoint);
        } catch (error) {
          failure = error as Error;
          this.abort();
        }
      };
      lane.pending += size;
      try {
        const received = await lane.downloader.download(task, position, record);
        if (failure !== undefined) throw failure;
        return received;
      } catch (error) {
        throw failure ?? error;
      } finally {
        lane.pending -= size;
      }
    });
  }

  /** Stops every download after the chunk that it is writing; they fail with `interrupted`. */
  abort(): void {
    this.#isAborted = true;
    for (const { downloader } of this.#lanes) downloader.abort();
  }

  /** Ends the threads. Call it once no download runs. */
  async close(): Promise<void> {
    await Promise.all(this.#lanes.map(({ downloader }) => downloader.close()));
  }
}

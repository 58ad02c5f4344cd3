import { BundleFile } from '../bundle/format/file.js';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { chunkCollector } from '../io/chunk-collector.js';
import type { Registry, RegistryOptions } from '../registry/registry.js';
import { transferBlob, type TransferTask } from '../transfer/transfer.js';

/** Least bytes of a blob between two calls of `OnProgress`: neither the user nor the journal needs one for every write. */
const progressInterval = 1024 * 1024;

/** Least milliseconds between two calls of `OnProgress` for a blob: between threads, each costs a quarter of a millisecond in both. */
const progressPause = 100;

/** Where blobs come from and where they go, as plain data for a worker thread. */
export interface DownloaderOptions {
  /** The file that blobs are written to. */
  readonly place: BundlePlace;
  readonly registry: RegistryOptions;
  readonly retries: number;
}

/** Called with the number of bytes of a blob that are written, and with their digest. */
export type OnProgress = (bytes: number, checkpoint: Uint8Array) => void;

/** Bytes of what is read back at once: a stream of its own would take most of the time of a small blob. */
const smallRead = 64 * 1024;

async function* readBack(file: BundleFile, position: number, length: number): AsyncIterable<Uint8Array> {
  if (length > smallRead) yield* file.stream(position, length) as AsyncIterable<Uint8Array>;
  else yield await file.readSmall(position, length);
}

/** Downloads, hashes and writes blobs in the thread that it is in. */
export class Downloader {
  readonly #stop = new AbortController();
  readonly #collectChunks = chunkCollector();
  readonly #opening: Promise<BundleFile>;

  /** @param registry stays open when this is closed */
  constructor(
    private readonly options: DownloaderOptions,
    private readonly registry: Registry,
  ) {
    this.#opening = BundleFile.open(options.place, 'r+');
    // Each download throws the error.
    this.#opening.catch(() => undefined);
  }

  /**
   * Downloads one blob to its position in the file.
   * @returns bytes received over the network
   * @throws AirliftError as `transferBlob`, `io`; what `onProgress` throws. Before that, `onProgress` is called with all that is written, so
   *   that the next run resumes there
   */
  async download(task: TransferTask, position: number, onProgress: OnProgress): Promise<number> {
    const { options } = this;
    const file = await this.#opening;
    const { size } = task.descriptor;
    let reported = 0;
    let reportedAt = 0;
    let latest: { bytes: number; soFar: () => Uint8Array } | undefined;
    const report = (): void => {
      if (latest === undefined) return;
      const { bytes, soFar } = latest;
      latest = undefined;
      reported = bytes;
      reportedAt = performance.now();
      onProgress(bytes, soFar());
    };
    try {
      return await transferBlob(
        this.registry,
        {
          write: (chunks, offset) => {
            file.writevSync(chunks, position + offset);
            this.#collectChunks(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
          },
          read: (length) => readBack(file, position, length),
        },
        task,
        {
          retries: options.retries,
          retryDelay: options.registry.retryDelay,
          signal: this.#stop.signal,
          onProgress: (bytes, soFar) => {
            latest = { bytes, soFar };
            const isDue =
              bytes >= reported + progressInterval && performance.now() >= reportedAt + progressPause;
            if (isDue || bytes < reported) report();
          },
        },
      );
    } catch (error) {
      if (latest !== undefined && latest.bytes < size) report();
      throw error;
    }
  }

  /** Stops every download after the chunk that it is writing; they fail with `interrupted`. */
  abort(): void {
    this.#stop.abort();
  }

  /** Call it once no download runs. */
  async close(): Promise<void> {
    await (await this.#opening.catch(() => undefined))?.close();
  }
}

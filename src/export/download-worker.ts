/** Worker thread of an export: downloads, hashes and writes blobs, so that this work uses two cores. */
import { parentPort, workerData } from 'node:worker_threads';
import { BundleFile } from '../bundle/format/file.js';
import { toPlainError } from '../errors.js';
import { chunkCollector } from '../io/chunk-collector.js';
import { Registry } from '../registry/registry.js';
import { transferBlob, type TransferTask } from '../transfer/transfer.js';
import type { DownloadWorkerData, FromWorker, ToWorker } from './download-pool.js';

/** Least bytes of a blob between two progress messages: neither the user nor the journal needs one for every write. */
const progressInterval = 1024 * 1024;

/** Least milliseconds between two progress messages about a blob. A message costs a quarter of a millisecond in each of two threads. */
const progressPause = 100;

const { place, registry: registryOptions, retries, isTraced } = workerData as DownloadWorkerData;
const port = parentPort;
if (port === null) throw new Error('the download worker runs only as a worker thread');

const post = (message: FromWorker): void => port.postMessage(message);
const registry = new Registry(registryOptions, {
  trace: isTraced ? (trace) => post({ type: 'trace', trace }) : undefined,
  warn: (text) => post({ type: 'warn', text }),
  note: (text) => post({ type: 'note', text }),
  silence: (text) => post({ type: 'silence', text }),
});
const file = await BundleFile.open(place, 'r+');
const stop = new AbortController();
const collectChunks = chunkCollector();

async function download(id: number, task: TransferTask, position: number): Promise<void> {
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
    post({ type: 'progress', id, bytes, checkpoint: soFar() });
  };
  try {
    const received = await transferBlob(
      registry,
      {
        write: (chunks, offset) => {
          file.writevSync(chunks, position + offset);
          collectChunks(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
        },
        read: (length) => file.stream(position, length),
      },
      task,
      {
        retries,
        retryDelay: registryOptions.retryDelay,
        signal: stop.signal,
        onProgress: (bytes, soFar) => {
          latest = { bytes, soFar };
          const isDue =
            bytes >= reported + progressInterval && performance.now() >= reportedAt + progressPause;
          if (isDue || bytes < reported) report();
        },
      },
    );
    post({ type: 'done', id, received });
  } catch (error) {
    // The next run resumes from the last byte that is reported.
    if (latest !== undefined && latest.bytes < size) report();
    post({ type: 'failed', id, error: toPlainError(error) });
  }
}

async function close(): Promise<void> {
  await registry.close();
  await file.close();
  port?.close();
}

port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'start':
      void download(message.id, message.task, message.position);
      break;
    case 'abort':
      stop.abort();
      break;
    case 'close':
      void close();
      break;
  }
});

/** Worker thread of an export: fetches, hashes and writes whole blobs, so that two cores do that work at once. */
import { parentPort, workerData } from 'node:worker_threads';
import { BundleFile } from '../bundle/format/file.js';
import type { DownloadWorkerData, FromWorker, ToWorker } from './download-protocol.js';
import { toPlainError } from '../errors.js';
import { chunkReclaimer } from './reclaim.js';
import { Registry } from '../registry/registry.js';
import { transferBlob, type TransferTask } from '../transfer/transfer.js';

/** Progress is for people and for the journal: neither needs every write. */
const progressInterval = 1024 * 1024;

const { path, registry: registryOptions, retries, isTraced } = workerData as DownloadWorkerData;
const port = parentPort;
if (port === null) throw new Error('the download worker runs only as a worker thread');

const post = (message: FromWorker): void => port.postMessage(message);
const registry = new Registry(registryOptions, {
  trace: isTraced ? (trace) => post({ type: 'trace', trace }) : undefined,
  warn: (text) => post({ type: 'warning', text }),
  note: (text) => post({ type: 'note', text }),
  silence: (text) => post({ type: 'silence', text }),
});
const file = await BundleFile.open(path, 'r+');
const stop = new AbortController();
const reclaim = chunkReclaimer();

async function run(id: number, task: TransferTask, position: number): Promise<void> {
  const { size } = task.descriptor;
  let reported = 0;
  let latest: { bytes: number; soFar: () => Uint8Array } | undefined;
  const report = (): void => {
    if (latest === undefined) return;
    const { bytes, soFar } = latest;
    latest = undefined;
    reported = bytes;
    post({ type: 'progress', id, bytes, checkpoint: soFar() });
  };
  try {
    const received = await transferBlob(
      registry,
      {
        write: async (chunks, offset) => {
          await file.writev(chunks, position + offset);
          reclaim(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
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
          if (bytes >= reported + progressInterval || bytes < reported) report();
        },
      },
    );
    post({ type: 'done', id, received });
  } catch (error) {
    // Whoever goes on with it later should know of every byte.
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
      void run(message.id, message.task, message.position);
      break;
    case 'abort':
      stop.abort();
      break;
    case 'close':
      void close();
      break;
  }
});

/** Worker thread of an export: downloads, hashes and writes blobs, so that this work uses two cores. */
import { parentPort, workerData } from 'node:worker_threads';
import { toPlainError } from '../errors.js';
import { Registry } from '../registry/registry.js';
import { Downloader } from './downloader.js';
import type { DownloadWorkerData, FromWorker, ToWorker } from './download-thread.js';

const { isTraced, ...options } = workerData as DownloadWorkerData;
const port = parentPort;
if (port === null) throw new Error('the download worker runs only as a worker thread');

const post = (message: FromWorker): void => port.postMessage(message);
const registry = new Registry(options.registry, {
  trace: isTraced ? (trace) => post({ type: 'trace', trace }) : undefined,
  warn: (text) => post({ type: 'warn', text }),
  note: (text) => post({ type: 'note', text }),
  silence: (text) => post({ type: 'silence', text }),
});
const downloader = new Downloader(options, registry);

async function download({ id, task, position }: ToWorker & { type: 'start' }): Promise<void> {
  try {
    const received = await downloader.download(task, position, (bytes, checkpoint) =>
      post({ type: 'progress', id, bytes, checkpoint }),
    );
    post({ type: 'done', id, received });
  } catch (error) {
    post({ type: 'failed', id, error: toPlainError(error) });
  }
}

async function close(): Promise<void> {
  await registry.close();
  await downloader.close();
  port?.close();
}

port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'start':
      void download(message);
      break;
    case 'abort':
      downloader.abort();
      break;
    case 'close':
      void close();
      break;
  }
});

/** Worker thread of `verify`: reads and hashes ranges of a file. */
import { parentPort, workerData } from 'node:worker_threads';
import { AirliftError, toPlainError } from '../../errors.js';
import { BundleFile } from '../format/file.js';
import type { BundlePlace } from '../format/volumes/files.js';
import type { HashAnswer } from './hash-pool.js';
import { chunkSize, hashRange, type HashTask } from './hash-range.js';

const { place } = workerData as { place: BundlePlace };
const port = parentPort;
const chunk = Buffer.allocUnsafe(chunkSize);

function post(answer: HashAnswer): void {
  port?.postMessage(answer);
}

function hash(file: BundleFile, tasks: readonly HashTask[]): void {
  try {
    post({ results: tasks.map((task) => hashRange(file, task, chunk, (progress) => post({ progress }))) });
  } catch (error) {
    if (!(error instanceof AirliftError)) throw error;
    post({ failure: toPlainError(error) });
  }
}

async function start(): Promise<void> {
  const file = await BundleFile.open(place, 'r');
  port?.on('message', (tasks: readonly HashTask[]) => hash(file, tasks));
}

void start();

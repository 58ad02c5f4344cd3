/** Worker thread of `verify --deep`: unpacks layers of a file. */
import { parentPort, workerData } from 'node:worker_threads';
import { BundleFile } from '../bundle/format/file.js';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { toPlainError } from '../errors.js';
import type { UnpackAnswer, UnpackTask } from './unpack-pool.js';
import { unpackLayer } from './unpack-layer.js';

/** Bytes between two progress messages. */
const progressBytes = 8 * 1024 * 1024;

const { place } = workerData as { place: BundlePlace };
const port = parentPort;

function post(answer: UnpackAnswer): void {
  port?.postMessage(answer);
}

async function unpack(file: BundleFile, { at, size, algorithms, limits }: UnpackTask): Promise<void> {
  let bytes = 0;
  const onBytes = (count: number): void => {
    bytes += count;
    if (bytes < progressBytes) return;
    post({ progress: bytes });
    bytes = 0;
  };
  const content = file.stream(at, size, { reusesMemory: true });
  try {
    const result = await unpackLayer(content, size, { algorithms, limits, onBytes });
    post({ result, progress: bytes });
  } catch (error) {
    post({ failure: toPlainError(error) });
  } finally {
    content.destroy();
  }
}

async function start(): Promise<void> {
  const file = await BundleFile.open(place, 'r');
  port?.on('message', (task: UnpackTask) => void unpack(file, task));
}

void start();

/** Worker thread of `verify`: reads and hashes ranges of a file. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { AirliftError, toPlainError } from '../../errors.js';
import { BundleFile } from '../format/file.js';
import type { BundlePlace } from '../format/volumes/files.js';
import type { HashAnswer, HashResult, HashTask } from './hash-pool.js';

/** Bytes read and hashed at a time. */
const chunkSize = 1024 * 1024;
/** Bytes between two progress messages. */
const progressBytes = 16 * chunkSize;

const { place } = workerData as { place: BundlePlace };
const port = parentPort;
const file = await BundleFile.open(place, 'r');
const chunk = Buffer.allocUnsafe(chunkSize);

function post(answer: HashAnswer): void {
  port?.postMessage(answer);
}

/** Hashes a range of the file; `bytes` is less than its size if the file ends before. */
function hashRange({ id, position, size, algorithm }: HashTask): HashResult {
  const hash = createHash(algorithm);
  let bytes = 0;
  for (let reported = 0; bytes < size;) {
    const want = Math.min(chunkSize, size - bytes);
    const count = file.readSync(chunk.subarray(0, want), position + bytes);
    hash.update(chunk.subarray(0, count));
    bytes += count;
    if (count < want) break;
    if (bytes - reported < progressBytes || bytes === size) continue;
    post({ progress: bytes - reported });
    reported = bytes;
  }
  return { id, hex: hash.digest('hex'), bytes };
}

port?.on('message', (tasks: readonly HashTask[]) => {
  try {
    post({ results: tasks.map(hashRange) });
  } catch (error) {
    if (!(error instanceof AirliftError)) throw error;
    post({ failure: toPlainError(error) });
  }
});

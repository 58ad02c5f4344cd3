/**
 * The least work that a verification can be: threads read a file and hash it, each its own part.
 *
 *     node dist/test/bench/bare-hash.js FILE THREADS
 */
import { createHash } from 'node:crypto';
import { openSync, readSync, statSync } from 'node:fs';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

interface Part {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

function hashPart({ path, from, to }: Part): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(1 << 20);
  const fd = openSync(path, 'r');
  for (let at = from; at < to;) {
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, to - at), at);
    if (read === 0) throw new Error(`${path} is shorter than ${to} bytes`);
    hash.update(buffer.subarray(0, read));
    at += read;
  }
  return hash.digest('hex');
}

if (isMainThread) {
  const [path = '', threads] = process.argv.slice(2);
  const { size } = statSync(path);
  const share = Math.ceil(size / Number(threads));
  for (let from = 0; from < size; from += share) {
    const part: Part = { path, from, to: Math.min(size, from + share) };
    new Worker(new URL(import.meta.url), { workerData: part });
  }
} else {
  console.log(hashPart(workerData as Part));
}

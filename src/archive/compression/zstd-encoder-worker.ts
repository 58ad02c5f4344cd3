import { parentPort } from 'node:worker_threads';
import { run, type ZstdBinding } from 'zstd-codec/lib/module.js';

/** A block to compress into one frame. */
export interface ZstdJob {
  readonly block: Uint8Array<ArrayBuffer>;
  readonly level: number;
}

/** The frame, or the reason of failure. */
export type ZstdJobResult = { readonly frame: Uint8Array<ArrayBuffer> } | { readonly failed: string };

/** Bytes of input passed at a time: the WebAssembly module has 16 MiB of memory in total. */
const inputSize = 256 * 1024;

function compress(binding: ZstdBinding, { block, level }: ZstdJob): Uint8Array<ArrayBuffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const collect = (chunk: Uint8Array): void => {
    // The chunk lies in the module's memory, which the next call overwrites.
    chunks.push(chunk.slice());
    size += chunk.byteLength;
  };
  const encoder = new binding.ZstdCompressStreamBinding();
  try {
    let isOk = encoder.begin(level);
    for (let at = 0; isOk && at < block.byteLength; at += inputSize)
      isOk = encoder.transform(block.subarray(at, at + inputSize), collect);
    if (!isOk || !encoder.end(collect)) throw new Error(`zstd-codec failed at level ${level}`);
  } finally {
    encoder.delete();
  }
  const frame = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    frame.set(chunk, at);
    at += chunk.byteLength;
  }
  return frame;
}

const port = parentPort;
if (port === null) throw new Error('zstd-encoder-worker runs as a worker thread only');
run((binding) => {
  port.on('message', (job: ZstdJob) => {
    try {
      const frame = compress(binding, job);
      port.postMessage({ frame } satisfies ZstdJobResult, [frame.buffer]);
    } catch (error) {
      port.postMessage({ failed: String(error) } satisfies ZstdJobResult);
    }
  });
});

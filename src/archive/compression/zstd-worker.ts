/** Worker thread of `unzstd`: decodes what it gets in messages. */
import { parentPort } from 'node:worker_threads';
import { decodeZstd } from './zstd-decoder.js';
import { zstdFaultOf, type ZstdFailure } from './zstd-frames.js';
import { chunkCollector } from '../../io/chunk-collector.js';

/** Messages to the worker: compressed bytes, their end, and that an output was consumed. */
export type ToZstdWorker = { input: Uint8Array } | { end: true } | { taken: true };

/** Messages from the worker: decompressed bytes, that an input was consumed, the end, or a fault. */
export type FromZstdWorker = { output: Uint8Array } | { used: true } | { done: true } | ZstdFailure;

/** The most unconsumed outputs, of 128 KiB at most: this bounds the memory that a bomb can fill. */
const maxOutputs = 16;

const port = parentPort;
if (port === null) throw new Error('zstd-worker runs as a worker thread only');

const inputs: Uint8Array[] = [];
let isEnded = false;
/** Outputs sent and not yet consumed. */
let outputs = 0;
let wake: () => void = () => undefined;

port.on('message', (message: ToZstdWorker) => {
  if ('input' in message) inputs.push(message.input);
  else if ('end' in message) isEnded = true;
  else outputs--;
  wake();
});

function send(message: FromZstdWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

async function* received(): AsyncGenerator<Uint8Array> {
  for (;;) {
    while (inputs.length === 0 && !isEnded) await new Promise<void>((resolve) => (wake = resolve));
    const input = inputs.shift();
    if (input === undefined) return;
    yield input;
    send({ used: true });
  }
}

const collectChunks = chunkCollector();
let offset = 0;
const onInput = (bytes: number): void => {
  offset += bytes;
  collectChunks(bytes);
};

async function decode(): Promise<void> {
  try {
    for await (const output of decodeZstd(received(), onInput)) {
      while (outputs >= maxOutputs) await new Promise<void>((resolve) => (wake = resolve));
      outputs++;
      send({ output }, [output.buffer as ArrayBuffer]);
    }
    send({ done: true });
  } catch (error) {
    send(zstdFaultOf(error, offset));
  }
}

void decode().finally(() => port.close());

import { parentPort } from 'node:worker_threads';
import { ZSTDDecoder } from 'zstddec/stream';
import { chunkCollector } from '../../io/chunk-collector.js';
import { FrameSplitter, ZstdFrameError, type ZstdFault } from './zstd-frames.js';

/** Messages to the worker: compressed bytes, their end, and that an output was consumed. */
export type ToZstdWorker = { input: Uint8Array } | { end: true } | { taken: true };

/** Messages from the worker: decompressed bytes, that an input was consumed, the end, or a fault. */
export type FromZstdWorker =
  | { output: Uint8Array }
  | { used: true }
  | { done: true }
  | { fault: ZstdFault; message: string; offset: number };

/** The most unconsumed outputs, of 128 KiB at most: this bounds the memory that a bomb can fill. */
const maxOutputs = 16;

const collectChunks = chunkCollector();

/** Decodes one zstd stream. */
class Decoding {
  readonly #splitter = new FrameSplitter();
  readonly #send: (message: FromZstdWorker, transfer?: ArrayBuffer[]) => void;
  /** Pieces of frames not yet decoded; `last` marks the last piece of one message. */
  readonly #pieces: { bytes: Uint8Array; last: boolean }[] = [];
  #ended = false;
  #fault: ZstdFrameError | undefined;
  /** Outputs sent and not yet consumed. */
  #outputs = 0;
  #wake: () => void = () => undefined;
  /** Pieces and bytes passed to the decoder. */
  #given = 0;
  #offset = 0;

  constructor(send: (message: FromZstdWorker, transfer?: ArrayBuffer[]) => void) {
    this.#send = send;
  }

  receive(message: ToZstdWorker): void {
    if ('input' in message) this.#addInput(message.input);
    else if ('end' in message) this.#ended = true;
    else this.#outputs--;
    this.#wake();
  }

  #addInput(input: Uint8Array): void {
    try {
      const pieces = this.#splitter.split(input);
      pieces.forEach((bytes, at) => this.#pieces.push({ bytes, last: at === pieces.length - 1 }));
    } catch (error) {
      if (!(error instanceof ZstdFrameError)) throw error;
      this.#fault ??= error;
    }
  }

  /** Feeds the decoder, which pulls synchronously; `run` waits for a piece before it lets the decoder pull. */
  *#inputs(): Generator<Uint8Array> {
    for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) {
      this.#given++;
      this.#offset += piece.bytes.byteLength;
      collectChunks(piece.bytes.byteLength);
      if (piece.last) this.#send({ used: true });
      yield piece.bytes;
    }
  }

  async run(): Promise<void> {
    try {
      await this.#decode();
      this.#send({ done: true });
    } catch (error) {
      const fault = error instanceof ZstdFrameError ? error.fault : 'corrupt';
      const message = error instanceof Error ? error.message : String(error);
      this.#send({ fault, message, offset: this.#offset });
    }
  }

  async #decode(): Promise<void> {
    const decoder = new ZSTDDecoder();
    await decoder.init();
    const outputs = decoder.decodeStreaming(this.#inputs());
    let stuck = 0;
    for (;;) {
      while (this.#outputs >= maxOutputs || (this.#pieces.length === 0 && !this.#ended && !this.#fault))
        await new Promise<void>((resolve) => (this.#wake = resolve));
      if (this.#pieces.length === 0) this.#checkEnd();
      const before = this.#given;
      const { value, done } = outputs.next();
      if (done === true) return;
      // After an error the decoder neither consumes nor produces anything, forever.
      stuck = value.byteLength === 0 && this.#given === before ? stuck + 1 : 0;
      if (stuck === 2)
        throw new ZstdFrameError('corrupt', 'a block does not decode, or its checksum is wrong');
      if (value.byteLength === 0) continue;
      this.#outputs++;
      this.#send({ output: value }, [value.buffer as ArrayBuffer]);
    }
  }

  #checkEnd(): void {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#splitter.complete) return;
    throw new ZstdFrameError('truncated', 'ends inside a frame');
  }
}

// With fetch, the decoder loads its WebAssembly from a data: URL, which loads an HTTP client first and doubles the startup time.
Reflect.deleteProperty(globalThis, 'fetch');

const port = parentPort;
if (port === null) throw new Error('zstd-worker runs as a worker thread only');
const decoding = new Decoding((message, transfer = []) => port.postMessage(message, transfer));
port.on('message', (message: ToZstdWorker) => decoding.receive(message));
await decoding.run();
port.close();

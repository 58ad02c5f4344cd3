import { on } from 'node:events';
import { Worker } from 'node:worker_threads';
import { zstdError } from './zstd-frames.js';
import type { FromZstdWorker, ToZstdWorker } from './zstd-worker.js';

/** Inputs sent ahead: the decoder needs the next one before it has output all of the previous one. */
const maxInputs = 4;

/** Sends the input to the worker, a few chunks ahead of what it has consumed. */
class Feeder {
  #ahead = 0;
  #stopped = false;
  #wake: () => void = () => undefined;

  constructor(private readonly send: (message: ToZstdWorker, transfer: ArrayBuffer[]) => void) {}

  used(): void {
    this.#ahead--;
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of input) {
      if (chunk.byteLength === 0) continue;
      while (this.#ahead >= maxInputs && !this.#stopped)
        await new Promise<void>((resolve) => (this.#wake = resolve));
      if (this.#stopped) return;
      // A copy, because a transfer would also remove other chunks that share the buffer from this thread.
      const bytes = new Uint8Array(chunk);
      this.#ahead++;
      this.send({ input: bytes }, [bytes.buffer]);
    }
    this.send({ end: true }, []);
  }
}

/**
 * Decompresses zstd frames (RFC 8878) in a worker thread: any number of frames, skippable ones too, with windows of up to 128 MiB.
 * Memory is bounded by the window and a few MiB. This uses zstddec, because Node has zstd only since 22.15.
 * @param what names the content in messages
 * @throws AirliftError `damaged` where the input is truncated or corrupt, `unsupported` where it needs a larger window or a dictionary
 */
export async function* unzstd(input: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  // Flags of this process, such as --input-type, do not apply to a worker file.
  const worker = new Worker(new URL('./zstd-worker.js', import.meta.url), { execArgv: [] });
  const broken = new AbortController();
  const feeder = new Feeder((message, transfer) => worker.postMessage(message, transfer));
  try {
    const messages = on(worker, 'message', { signal: broken.signal });
    feeder.feed(input).catch((error: unknown) => broken.abort(error));
    for await (const [message] of messages as AsyncIterable<[FromZstdWorker]>) {
      if ('used' in message) feeder.used();
      else if ('fault' in message) throw zstdError(message, what);
      else if ('done' in message) return;
      else {
        const { output } = message;
        yield Buffer.from(output.buffer, output.byteOffset, output.byteLength);
        worker.postMessage({ taken: true } satisfies ToZstdWorker);
      }
    }
  } catch (error) {
    throw broken.signal.aborted ? broken.signal.reason : error;
  } finally {
    feeder.stop();
    await worker.terminate();
  }
}

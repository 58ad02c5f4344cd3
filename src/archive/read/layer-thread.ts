import { Worker } from 'node:worker_threads';
import type { CompressedLayer } from '../compression/compress.js';
import type { Compression } from '../compression/decompress.js';
import type { ScratchEnd } from '../io/scratch.js';
import type { LayerFiles } from '../platform/layer-files.js';
import { checkInterrupted, fromPlainError, type PlainError } from '../../errors.js';
import type { Place } from '../../io/byte-range.js';

/**
 * A layer to read. `compress` writes it to the end of a scratch file; `verify` only computes its digests; `scan` only finds its programs, and
 * skips what is between them.
 */
export type LayerTask = {
  readonly place: Place;
  readonly size: number;
  /** Names the layer in messages. */
  readonly what: string;
} & (
  | { readonly kind: 'verify' | 'scan' }
  | {
      readonly kind: 'compress';
      readonly target: { readonly end: ScratchEnd; readonly compression: Compression };
    }
);

/** What a thread found out about a layer. */
export interface ReadLayer {
  readonly layer: CompressedLayer;
  readonly files: LayerFiles;
}

/** What a thread found in a layer that it did not read completely. */
export type ScannedLayer = Pick<ReadLayer, 'files'>;

/** A message of a worker thread. */
export type LayerAnswer = ReadLayer | ScannedLayer | { readonly failure: PlainError };

/**
 * Layers read at a time. Their blocks are compressed in the threads of Node's pool, which has work for all cores even with one layer; a
 * second layer fills the gap at the end of the first.
 */
export const layersAtATime = 2;

/** Milliseconds until an idle thread ends, to free its memory for the uploads that follow. */
const idleTime = 100;

/**
 * A worker thread that reads layers. One thread hashes faster than Node's pool compresses, and a thread of its own has a small heap, in
 * which collecting the buffers of layers is cheap.
 */
class LayerThread {
  readonly #worker = new Worker(new URL('./layer-worker.js', import.meta.url), {
    // Its objects live for milliseconds: a larger young generation would only hold memory that is never used.
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
  readonly #waiting = new Map<number, (answer: LayerAnswer) => void>();
  #tasks = 0;
  #idle: NodeJS.Timeout | undefined;
  hasEnded = false;

  constructor() {
    this.#worker.on('message', ({ id, answer }: { id: number; answer: LayerAnswer }) =>
      this.#settle(id, answer),
    );
    this.#worker.on('error', (error) => this.#end(error.message));
    this.#worker.on('exit', () => this.#end('the worker thread ended'));
  }

  #settle(id: number, answer: LayerAnswer): void {
    this.#waiting.get(id)?.(answer);
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) return;
    this.#worker.unref();
    this.#idle = setTimeout(this.stop, idleTime).unref();
  }

  #end(how: string): void {
    this.hasEnded = true;
    clearTimeout(this.#idle);
    for (const answer of this.#waiting.values())
      answer({ failure: { code: 'io', message: `read layer: ${how}` } });
    this.#waiting.clear();
  }

  readonly stop = (): void => {
    this.hasEnded = true;
    void this.#worker.terminate();
  };

  read(task: LayerTask): Promise<LayerAnswer> {
    const id = this.#tasks++;
    clearTimeout(this.#idle);
    this.#worker.ref();
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ id, task });
    });
  }
}

/** Threads by the signal that ends them: an abort must not end the layers of another run. */
const threads = new WeakMap<object, LayerThread>();
/** The key of the thread for layers without a signal. */
const noSignal = {};

/**
 * Reads a layer, in a worker thread: computes its digests, finds its programs and compresses it, as the task says.
 * @throws AirliftError `interrupted`, `io`, `no-space`, `damaged`, `unsupported`
 */
export function readLayer(
  task: LayerTask & { kind: 'scan' },
  signal: AbortSignal | undefined,
): Promise<ScannedLayer>;
export function readLayer(task: LayerTask, signal: AbortSignal | undefined): Promise<ReadLayer>;
export async function readLayer(task: LayerTask, signal: AbortSignal | undefined): Promise<ScannedLayer> {
  checkInterrupted(signal, `read ${task.what}`);
  let thread = threads.get(signal ?? noSignal);
  if (thread === undefined || thread.hasEnded) {
    thread = new LayerThread();
    threads.set(signal ?? noSignal, thread);
  }
  const { stop } = thread;
  signal?.addEventListener('abort', stop, { once: true });
  const answer = await thread.read(task);
  signal?.removeEventListener('abort', stop);
  checkInterrupted(signal, `read ${task.what}`);
  if ('failure' in answer) throw fromPlainError(answer.failure);
  return answer;
}

import { finished, type Readable } from 'node:stream';
import { AirliftError, interruption, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';
import { backoff, pause } from '../oci/pause.js';
import type { Fetches } from '../oci/read.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import { isOutage } from '../plan/outages.js';
import { verifyWritten, type Written } from './resume-check.js';

/** Bytes per write: fewer, larger writes take half the time of one write per network chunk. */
const writeSize = 256 * 1024;

/** The destination of a blob, which is written front to back. */
export interface Place {
  /** Writes chunks one after another, starting `offset` bytes into the blob. Blocks the thread, so that the chunks need not wait in memory. */
  write(chunks: readonly Uint8Array[], offset: number): void;
  /** Reads back the first `length` bytes, which an interrupted run wrote, to hash them. */
  read(length: number): AsyncIterable<Uint8Array>;
}

export interface TransferTask extends Written {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
}

export interface TransferOptions {
  /** How often to resume a broken stream without any progress in between. */
  readonly retries: number;
  /** Milliseconds to wait before the first retry; later waits double. Default: 500. */
  readonly retryDelay?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Called after each write.
   * @param bytes the number of bytes written so far
   * @param soFar returns their digest
   */
  readonly onProgress: (bytes: number, soFar: () => Uint8Array) => void;
}

/**
 * Transfers a blob: resumes after the bytes that are present, resumes a broken stream where it broke, and verifies the whole blob.
 * @returns the number of bytes received
 * @throws AirliftError what the source throws if it is not transient or `retries` are used up; `digest-mismatch` or
 *   `size-mismatch` if the source provided wrong content twice; `interrupted`
 */
export async function transferBlob(
  source: Fetches,
  place: Place,
  task: TransferTask,
  options: TransferOptions,
): Promise<number> {
  const transfer = new Transfer(source, place, task, options);
  try {
    return await transfer.run();
  } catch (error) {
    throw options.signal?.aborted === true ? interruption('transfer', options.signal) : error;
  }
}

class Transfer {
  #verifier: Verifier;
  #received = 0;
  /** The longest prefix of all attempts: a server that breaks off at the same byte each time makes no progress. */
  #farthest = 0;
  #failures = 0;
  #wrongAttempts = 0;
  /** Whether the first bytes are from an earlier run, which may have written wrong ones. */
  #isInherited = false;

  constructor(
    readonly source: Fetches,
    readonly place: Place,
    readonly task: TransferTask,
    readonly options: TransferOptions,
  ) {
    this.#verifier = new Verifier(task.descriptor.digest, task.descriptor.size);
  }

  async run(): Promise<number> {
    const { place, task, options } = this;
    const { descriptor } = task;
    this.#verifier = await verifyWritten(descriptor, task, (length) => place.read(length), options.signal);
    this.#farthest = this.#verifier.bytes;
    this.#isInherited = this.#verifier.bytes > 0;
    while (!(await this.#attempt())) continue;
    options.onProgress(descriptor.size, () => this.#verifier.soFar());
    return this.#received;
  }

  /** Makes one attempt. Returns whether the blob is complete and correct; throws if further attempts are useless. */
  async #attempt(): Promise<boolean> {
    const { descriptor, repository } = this.task;
    const start = this.#verifier.bytes;
    let isAnswered = false;
    try {
      if (start < descriptor.size || descriptor.size === 0) {
        const { signal } = this.options;
        const stream = await this.source.fetch(repository, descriptor, { offset: start, signal });
        isAnswered = true;
        await this.#receive(stream);
      }
      if (this.#verifier.bytes < descriptor.size) throw this.#shortBody();
      this.#verifier.clone().end();
      return true;
    } catch (error) {
      if (this.options.signal?.aborted === true) throw error;
      // A wrong length without any content may be the length of a proxy's error page.
      const isAnnounced = !isAnswered && isAirliftError(error, 'size-mismatch');
      if (start > 0 && isAirliftError(error, 'unsupported')) this.#startOver();
      else if (isOutage(error) || isAnnounced) await this.#pause(error);
      else if (isAirliftError(error, 'digest-mismatch', 'size-mismatch'))
        await this.#handleWrongContent(error);
      else throw error;
      return false;
    }
  }

  /** Waits before the next attempt, or throws `error` if the retries are used up. */
  async #pause(error: unknown): Promise<void> {
    const { retries, retryDelay = 500, signal } = this.options;
    this.#failures = this.#verifier.bytes > this.#farthest ? 1 : this.#failures + 1;
    this.#farthest = Math.max(this.#farthest, this.#verifier.bytes);
    if (this.#failures > retries) {
      // Another mirror may send what this one breaks off each time.
      if (!(await this.#distrust())) throw error;
      this.#failures = 0;
      return;
    }
    await pause(backoff(this.#failures, retryDelay), 'transfer', signal);
  }

  /** Prepares to fetch the whole blob once more, or throws if the server sent wrong content before. */
  async #handleWrongContent(error: AirliftError): Promise<void> {
    if (!this.#isInherited) {
      if (await this.#distrust()) this.#wrongAttempts = 0;
      else if (++this.#wrongAttempts > 1) throw this.#wrongContent(error);
    }
    this.#startOver();
  }

  /** Switches to another mirror than the one that sent the content last; returns whether there is one. */
  async #distrust(): Promise<boolean> {
    const { repository, descriptor } = this.task;
    return (await this.source.distrust?.(repository, descriptor)) === true;
  }

  #startOver(): void {
    const { digest, size } = this.task.descriptor;
    this.#verifier = new Verifier(digest, size);
    this.#isInherited = false;
  }

  #shortBody(): AirliftError {
    const { descriptor, repository } = this.task;
    return new AirliftError(
      'network',
      `fetch blob ${descriptor.digest} of ${formatRepository(repository)}: the response ended early; got ${this.#verifier.bytes} bytes, want ${descriptor.size}`,
    );
  }

  #wrongContent(cause: AirliftError): AirliftError {
    const { descriptor, repository } = this.task;
    return new AirliftError(
      cause.code,
      `fetch blob ${descriptor.digest} of ${formatRepository(repository)}: wrong content twice: ${cause.message}`,
      {
        cause,
        hint: `the content in ${repository.registry}, or in a proxy in front of it, is damaged; push the image there again`,
      },
    );
  }

  async #receive(stream: Readable): Promise<void> {
    const { place, options } = this;
    const verifier = this.#verifier;
    let gathered: Uint8Array[] = [];
    let size = 0;
    const flush = (): void => {
      if (size === 0) return;
      const chunks = gathered;
      const offset = verifier.bytes - size;
      gathered = [];
      size = 0;
      place.write(chunks, offset);
      options.onProgress(verifier.bytes, () => verifier.soFar());
    };
    try {
      await forEachChunk(stream, (chunk) => {
        this.#received += chunk.byteLength;
        verifier.update(chunk);
        gathered.push(chunk);
        size += chunk.byteLength;
        if (size >= writeSize) flush();
      });
    } finally {
      // The bytes before a break are hashed already. Without them on disk, the next attempt would leave a gap.
      flush();
    }
  }
}

/**
 * Calls `accept` for each chunk as it arrives. `for await` would join the chunks that wait in the stream, and so copy them.
 * @throws the error of the stream or of `accept`
 */
function forEachChunk(stream: Readable, accept: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    finished(stream, (error) => (error ? reject(error) : resolve()));
    stream.on('data', (chunk: Buffer) => {
      try {
        accept(chunk);
      } catch (error) {
        stream.destroy(error as Error);
      }
    });
  });
}

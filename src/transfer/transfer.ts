import type { Readable } from 'node:stream';
import { AirliftError, interruption, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';
import { backoff, pause } from '../oci/pause.js';
import type { Fetches } from '../oci/read.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import { isOutage } from '../plan/outages.js';
import { verifyWritten, type Written } from './resume-check.js';

/** Bytes gathered before they are written: fewer, larger writes cost half the time of one per network chunk. */
const writeSize = 256 * 1024;

/** Where a blob's content goes: a place of its own, written front to back. */
export interface Place {
  /** Writes chunks one after another, beginning `offset` bytes into the blob. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  /** Reads back the first `length` bytes, to hash what an interrupted run left. */
  read(length: number): Readable;
}

export interface TransferTask extends Written {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
}

export interface TransferOptions {
  /** How often a broken stream is taken up again without any byte of progress between. */
  readonly retries: number;
  /** Milliseconds of the first wait before that; it doubles from there. 500 unless told. */
  readonly retryDelay?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Called with the bytes that are in place, after each write.
   * @param soFar their digest
   */
  readonly onProgress: (bytes: number, soFar: () => Uint8Array) => void;
}

/**
 * Brings a blob to its place: goes on behind what is there, takes up a broken stream where it broke, verifies all of it.
 * @returns bytes that were received
 * @throws AirliftError what the source throws when it is not passing or `retries` are used up; `digest-mismatch` or
 *   `size-mismatch` where the source gave wrong content twice; `interrupted`
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
  /** The farthest that any try came: a server that breaks off at the same byte each time makes no progress. */
  #farthest = 0;
  #failures = 0;
  #wrong = 0;
  /** What stands at the begin is of an earlier run, which may have had it wrong. */
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
    while (!(await this.#try())) continue;
    options.onProgress(descriptor.size, () => this.#verifier.soFar());
    return this.#received;
  }

  /** Gives whether the blob is whole and right; throws where it never will be. */
  async #try(): Promise<boolean> {
    const { descriptor, repository } = this.task;
    const begun = this.#verifier.bytes;
    let isAnswered = false;
    try {
      if (begun < descriptor.size || descriptor.size === 0) {
        const { signal } = this.options;
        const stream = await this.source.fetch(repository, descriptor, { offset: begun, signal });
        isAnswered = true;
        await this.#receive(stream);
      }
      if (this.#verifier.bytes < descriptor.size) throw this.#shortBody();
      this.#verifier.clone().end();
      return true;
    } catch (error) {
      if (this.options.signal?.aborted === true) throw error;
      // A length that is wrong before any content came may be that of somebody's error page.
      const isAnnounced = !isAnswered && isAirliftError(error, 'size-mismatch');
      if (begun > 0 && isAirliftError(error, 'unsupported')) this.#startOver();
      else if (isOutage(error) || isAnnounced) await this.#pause(error);
      else if (isAirliftError(error, 'digest-mismatch', 'size-mismatch')) await this.#blame(error);
      else throw error;
      return false;
    }
  }

  /** Waits before the rest is asked for again, or throws `error` where that was done often enough. */
  async #pause(error: unknown): Promise<void> {
    const { retries, retryDelay = 500, signal } = this.options;
    this.#failures = this.#verifier.bytes > this.#farthest ? 1 : this.#failures + 1;
    this.#farthest = Math.max(this.#farthest, this.#verifier.bytes);
    if (this.#failures > retries) {
      // A mirror that breaks off at the same byte each time has to be passed over as well.
      if (!(await this.#distrust())) throw error;
      this.#failures = 0;
      return;
    }
    await pause(backoff(this.#failures, retryDelay), 'transfer', signal);
  }

  /** Makes ready to fetch all of it once more, or throws where the server had it wrong before. */
  async #blame(error: AirliftError): Promise<void> {
    if (!this.#isInherited) {
      if (await this.#distrust()) this.#wrong = 0;
      else if (++this.#wrong > 1) throw this.#wrongContent(error);
    }
    this.#startOver();
  }

  /** Whether another place is asked from now on than the one that gave the content last. */
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
    const flush = async (): Promise<void> => {
      if (size === 0) return;
      const chunks = gathered;
      const offset = verifier.bytes - size;
      gathered = [];
      size = 0;
      await place.write(chunks, offset);
      options.onProgress(verifier.bytes, () => verifier.soFar());
    };
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        this.#received += chunk.byteLength;
        verifier.update(chunk);
        gathered.push(chunk);
        size += chunk.byteLength;
        if (size >= writeSize) await flush();
      }
    } finally {
      // What arrived before a break is hashed already: it must be on disk too, or the rest would be asked from beyond it.
      await flush();
    }
  }
}

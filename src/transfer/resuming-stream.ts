import { isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import type { Readable } from 'node:stream';
import { whileOpening } from './opening.js';

export interface ResumingOptions {
  /** The byte to start at. */
  readonly offset?: number | undefined;
  /** How often to resume a broken stream without any progress in between. */
  readonly retries: number;
  readonly signal?: AbortSignal | undefined;
  /** Aborts the reopening of the stream after a break; default: `signal`. */
  readonly resumeSignal?: AbortSignal | undefined;
  /** Called with the number of bytes passed on so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Streams content and resumes after network breaks, for consumers that cannot rewind. If the source cannot start at an offset, it
 * is read from the start and the bytes already passed on are skipped. The content is not verified.
 * @throws AirliftError what the source throws, `network` once the retries are used up
 */
export async function* resumingContent(
  source: Pick<Source, 'fetch' | 'distrust'>,
  repository: Repository,
  descriptor: Descriptor,
  options: ResumingOptions,
): AsyncGenerator<Buffer> {
  yield* await openResuming(source, repository, descriptor, options);
}

/**
 * Opens content like `resumingContent`. Resolves after the source has answered, so that the caller can abort the wait for the
 * answer.
 * @throws AirliftError what the source throws
 */
export async function openResuming(
  source: Pick<Source, 'fetch' | 'distrust'>,
  repository: Repository,
  descriptor: Descriptor,
  options: ResumingOptions,
): Promise<AsyncGenerator<Buffer>> {
  const stream = new ResumingStream(source, repository, descriptor, options);
  await stream.open();
  return stream.read();
}

class ResumingStream {
  #passedOn: number;
  #at = 0;
  #takesOffset = true;
  #failures = 0;
  #stream: Readable | undefined;

  constructor(
    private readonly source: Pick<Source, 'fetch' | 'distrust'>,
    private readonly repository: Repository,
    private readonly descriptor: Descriptor,
    private readonly options: ResumingOptions,
  ) {
    this.#passedOn = options.offset ?? 0;
  }

  async open(signal = this.options.signal): Promise<Readable> {
    for (;;) {
      this.#at = this.#takesOffset ? this.#passedOn : 0;
      try {
        this.#stream = await whileOpening(signal, (opening) =>
          this.source.fetch(this.repository, this.descriptor, { offset: this.#at, signal: opening }),
        );
        return this.#stream;
      } catch (error) {
        await this.#failed(error, this.#passedOn);
      }
    }
  }

  async *read(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const before = this.#passedOn;
        try {
          const stream = this.#stream ?? (await this.open(this.options.resumeSignal ?? this.options.signal));
          for await (const chunk of stream as AsyncIterable<Buffer>) {
            const fresh = chunk.subarray(Math.max(0, this.#passedOn - this.#at));
            this.#at += chunk.byteLength;
            if (fresh.byteLength === 0) continue;
            this.#passedOn += fresh.byteLength;
            this.options.onProgress?.(this.#passedOn);
            yield fresh;
          }
          return;
        } catch (error) {
          this.#stream = undefined;
          await this.#failed(error, before);
        }
      }
    } finally {
      this.#stream?.destroy();
    }
  }

  /** @throws `error`, if another attempt would not help */
  async #failed(error: unknown, before: number): Promise<void> {
    this.#failures = this.#passedOn > before ? 1 : this.#failures + 1;
    if (isAirliftError(error, 'unsupported') && this.#takesOffset && this.#passedOn > 0) {
      this.#takesOffset = false;
      return;
    }
    if (!isAirliftError(error, 'network')) throw error;
    if (this.#failures <= this.options.retries) return;
    if ((await this.source.distrust?.(this.repository, this.descriptor)) !== true) throw error;
    this.#failures = 0;
  }
}

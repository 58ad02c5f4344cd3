import { once } from 'node:events';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { AirliftError, isAirliftError, messageOf } from '../../errors.js';
import type { Encoder } from '../compression/compress.js';
import type { EntryWriter } from './entry-writer.js';
import { OutputFile } from '../io/output-file.js';

/** A destination for the bytes of an archive. */
interface Destination {
  write(chunk: Buffer): Promise<void>;
  commit(): Promise<void>;
  discard(): Promise<void>;
  readonly size: number;
}

/** A stream such as standard output, which stays open. */
class StreamDestination implements Destination {
  #size = 0;
  #failure: Error | undefined;

  constructor(private readonly stream: Writable) {
    stream.on('error', (error) => (this.#failure = error));
  }

  get size(): number {
    return this.#size;
  }

  async write(chunk: Buffer): Promise<void> {
    this.#check();
    this.#size += chunk.byteLength;
    if (this.stream.write(chunk)) return;
    await once(this.stream, 'drain').catch(() => undefined);
    this.#check();
  }

  async commit(): Promise<void> {
    await new Promise<void>((resolve) => this.stream.write('', () => resolve()));
    this.#check();
  }

  discard(): Promise<void> {
    return Promise.resolve();
  }

  #check(): void {
    if (this.#failure === undefined) return;
    throw new AirliftError('io', `write archive: ${messageOf(this.#failure)}`, { cause: this.#failure });
  }
}

/** Owner 0 and the epoch as modification time: the same content gives the same archive. */
const header = { mode: 0o644, uid: 0, gid: 0, mtime: new Date(0), type: 'file' } as const;

/**
 * Writes a tar (POSIX ustar, pax records where a name or size needs them), compressed or not. The headers come from tar-stream, not from
 * `encodeHeader`: the two pad numbers differently, and the digests of saved archives must not change.
 */
export class TarWriter implements EntryWriter {
  readonly #pack: Pack = pack();
  readonly #written: Promise<void>;

  private constructor(
    private readonly destination: Destination,
    encode: Encoder,
  ) {
    this.#written = this.#write(encode(this.#pack as AsyncIterable<Buffer>));
    // The error is thrown when the next entry is added, or at the end.
    this.#written.catch(() => undefined);
  }

  /**
   * Creates a tar that is `path.partial` until it is complete.
   * @throws AirliftError `io`
   */
  static async create(path: string, encode: Encoder): Promise<TarWriter> {
    return new TarWriter(await OutputFile.create(path), encode);
  }

  /** Creates a tar in a stream, which stays open. */
  static to(stream: Writable, encode: Encoder): TarWriter {
    return new TarWriter(new StreamDestination(stream), encode);
  }

  async add(name: string, size: number, content: AsyncIterable<Buffer>): Promise<void> {
    try {
      const entry = this.#pack.entry({ ...header, name, size });
      await pipeline(Readable.from(content, { objectMode: false }), entry);
    } catch (error) {
      throw await this.#failure(error);
    }
  }

  async finish(): Promise<number> {
    this.#pack.finalize();
    await this.#written;
    await this.destination.commit();
    return this.destination.size;
  }

  async discard(): Promise<void> {
    this.#pack.destroy();
    await this.#written.catch(() => undefined);
    await this.destination.discard();
  }

  async #write(chunks: AsyncIterable<Buffer>): Promise<void> {
    for await (const chunk of chunks) await this.destination.write(chunk);
  }

  /** Returns the reason why an entry could not be added: the output's own error if that is the cause. */
  async #failure(error: unknown): Promise<unknown> {
    this.#pack.destroy(error instanceof Error ? error : undefined);
    try {
      await this.#written;
      return error;
    } catch (cause) {
      return isAirliftError(cause) && !isAirliftError(error) ? cause : error;
    }
  }
}

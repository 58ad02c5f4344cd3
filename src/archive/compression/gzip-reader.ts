import { createGunzip, type Gunzip } from 'node:zlib';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

/** Three times the speed of the default of 16 KiB. */
const chunkSize = 1024 * 1024;

function gzipError(error: unknown, taken: number, what: string): unknown {
  const code = systemCodeOf(error);
  if (code === undefined || !code.startsWith('Z_')) return error;
  const truncated = code === 'Z_BUF_ERROR';
  const happened = truncated
    ? `truncated after ${taken} bytes of gzip`
    : `corrupt before byte ${taken} of gzip: ${messageOf(error)}`;
  return new AirliftError('damaged', `decompress ${what}: ${happened}`, {
    cause: error,
    hint: truncated
      ? 'the file is not whole: copy or download it again'
      : 'the file is damaged: copy or download it again',
  });
}

/** Writes to the engine and waits until it took the chunk, or is closed. */
class Feeder {
  #wake: () => void = () => undefined;
  #taken = 0;

  constructor(
    private readonly engine: Gunzip,
    private readonly what: string,
  ) {
    engine.once('close', () => this.#wake());
  }

  get taken(): number {
    return this.#taken;
  }

  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of input) {
      const before = this.#taken;
      this.#taken += chunk.byteLength;
      // Once the engine has met zeros after a member it takes nothing more.
      if (this.engine.bytesWritten === before) await this.#write(chunk);
      if (this.engine.destroyed && this.engine.errored !== null) return;
      const rest = Math.min(chunk.byteLength, this.#taken - this.engine.bytesWritten);
      if (!chunk.subarray(chunk.byteLength - rest).every((byte) => byte === 0)) {
        throw new AirliftError(
          'damaged',
          `decompress ${this.what}: something other than gzip follows ${this.engine.bytesWritten} bytes of gzip`,
          { hint: 'the file is damaged: copy or download it again' },
        );
      }
    }
    this.engine.end();
  }

  async #write(chunk: Uint8Array): Promise<void> {
    if (this.engine.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.engine.write(chunk, () => resolve());
    });
  }
}

/**
 * Unpacks gzip (RFC 1952) of any number of members. Zeros may follow them, as on tapes; anything else may not.
 * @param what names the content, for messages
 * @throws AirliftError `damaged` where the input is truncated or corrupt
 */
export async function* gunzip(input: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const engine = createGunzip({ chunkSize });
  const feeder = new Feeder(engine, what);
  feeder.feed(input).catch((error: unknown) => engine.destroy(error as Error));
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    throw gzipError(error, feeder.taken, what);
  } finally {
    engine.destroy();
  }
}

import { isAirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import type { Repository } from './oci/reference.js';
import type { Source } from './oci/source.js';

export interface SteadyOptions {
  /** Byte to begin at. */
  readonly offset?: number | undefined;
  /** How often a broken stream is taken up again without any byte of progress between. */
  readonly retries: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes given so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * The content of a descriptor, for who can't go back: where the network breaks, it is taken up again behind the last byte
 * given, or before it where the source gives it only from its beginning. It is not verified.
 * @throws AirliftError what the source throws, `network` once the retries are used up
 */
export async function* steadyContent(
  source: Pick<Source, 'fetch'>,
  repository: Repository,
  descriptor: Descriptor,
  { offset = 0, retries, signal, onProgress }: SteadyOptions,
): AsyncGenerator<Buffer> {
  let given = offset;
  let takesOffset = true;
  for (let failures = 0; ;) {
    const before = given;
    let at = takesOffset ? given : 0;
    try {
      const stream = await source.fetch(repository, descriptor, { offset: at, signal });
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        const fresh = chunk.subarray(Math.max(0, given - at));
        at += chunk.byteLength;
        if (fresh.byteLength === 0) continue;
        given += fresh.byteLength;
        onProgress?.(given);
        yield fresh;
      }
      return;
    } catch (error) {
      failures = given > before ? 1 : failures + 1;
      if (isAirliftError(error, 'unsupported') && takesOffset && given > 0) takesOffset = false;
      else if (!isAirliftError(error, 'network') || failures > retries) throw error;
    }
  }
}

import type { Descriptor } from './descriptor.js';
import { Verifier } from './digest.js';

/**
 * Passes content on and fails if it does not match the descriptor.
 * @throws AirliftError `size-mismatch`, `digest-mismatch`
 */
export async function* verified(
  content: AsyncIterable<Buffer>,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): AsyncGenerator<Buffer> {
  const verifier = new Verifier(digest, size);
  for await (const chunk of content) {
    verifier.update(chunk);
    yield chunk;
  }
  verifier.end();
}

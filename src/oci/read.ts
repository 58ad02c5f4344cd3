import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { backoff, pause } from './pause.js';
import { Verifier } from './digest.js';
import { maxManifestSize, parseManifest, type Index, type Manifest } from './manifest.js';
import { formatRepository, type Repository } from './reference.js';
import type { FetchOptions, Source } from './source.js';

/** The part of a Source that reading small content needs. */
export type Fetches = Pick<Source, 'fetch' | 'distrust'>;

/** Retries after a broken stream; milliseconds of the first and of the longest wait before them. */
const maxRetries = 4;
const firstWait = 200;
const longestWait = 3200;

/**
 * Reads and verifies small content (a manifest, a config). Retries a few times after a broken stream, and once after wrong content.
 * @throws AirliftError `input` if the descriptor's size exceeds `limit` bytes; what `fetch` throws; `network`; `size-mismatch` or
 *   `digest-mismatch` if the content does not match the descriptor
 */
export async function readContent(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions & { readonly limit?: number } = {},
): Promise<Buffer> {
  const { signal, limit = maxManifestSize } = options;
  if (descriptor.size > limit) {
    throw new AirliftError(
      'input',
      `read ${descriptor.mediaType} ${descriptor.digest}: too large to keep in memory; got ${descriptor.size} bytes, want at most ${limit}`,
    );
  }
  for (let wrong = 0, attempt = 1; ; attempt++) {
    let stream: Readable | undefined;
    try {
      stream = await source.fetch(repository, descriptor, { signal });
      return await readVerified(stream, descriptor);
    } catch (error) {
      const isWrong = isAirliftError(error, 'digest-mismatch', 'size-mismatch') && ++wrong === 1;
      // If no content arrives at all, the source itself has retried already.
      const isBroken = stream !== undefined && isAirliftError(error, 'network');
      const isFaulty = isAirliftError(error, 'digest-mismatch', 'size-mismatch') || attempt > maxRetries;
      const isElsewhere = isFaulty && (await source.distrust?.(repository, descriptor)) === true;
      if (!isElsewhere && (attempt > maxRetries || !(isWrong || isBroken))) throw error;
      if (isElsewhere) wrong = 0;
    }
    await pause(backoff(attempt, firstWait, longestWait), `read ${descriptor.digest}`, signal);
  }
}

/**
 * Reads a stream to its end and verifies its content.
 * @throws AirliftError `size-mismatch` or `digest-mismatch` if the content does not match the descriptor
 */
export async function readVerified(stream: Readable, descriptor: Descriptor): Promise<Buffer> {
  const verifier = new Verifier(descriptor.digest, descriptor.size);
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    verifier.update(chunk);
    // The source may reuse the memory of its chunks.
    chunks.push(Buffer.from(chunk));
  }
  verifier.end();
  return Buffer.concat(chunks);
}

/** A manifest with its original bytes. */
export interface LoadedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
}

/** Reads, verifies and parses a manifest or index. The returned descriptor has the media type that the content implies. */
export async function readManifest(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions = {},
): Promise<LoadedManifest> {
  const bytes = await readContent(source, repository, descriptor, options);
  const what = `manifest ${descriptor.digest} of ${formatRepository(repository)}`;
  const manifest = parseManifest(bytes, descriptor.mediaType, what);
  return { descriptor: { ...descriptor, mediaType: manifest.mediaType }, bytes, manifest };
}

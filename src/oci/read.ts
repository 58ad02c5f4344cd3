import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { backoff, pause } from './pause.js';
import { Verifier } from './digest.js';
import { maxManifestSize, parseManifest, type Index, type Manifest } from './manifest.js';
import type { Repository } from './reference.js';
import type { FetchOptions, Source } from './source.js';

/** What is needed of a Source to read small content whole. */
export type Fetches = Pick<Source, 'fetch' | 'distrust'>;

/** How often content is read again that breaks off, and milliseconds of the first wait before that. */
const rereads = 4;
const firstWait = 200;
const longestWait = 3200;

/**
 * Reads small content (a manifest, a config) whole and verifies it. What breaks off in the middle is read again a few times,
 * wrong content once.
 * @throws AirliftError `input` where the descriptor says more than `limit` bytes; what `fetch` throws; `network`;
 *   `size-mismatch` or `digest-mismatch` where the content is not what the descriptor says
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
      return await readStream(stream, descriptor);
    } catch (error) {
      const isWrong = isAirliftError(error, 'digest-mismatch', 'size-mismatch') && ++wrong === 1;
      // What does not come at all was asked for often enough by the source.
      const isBroken = stream !== undefined && isAirliftError(error, 'network');
      const isFaulty = isAirliftError(error, 'digest-mismatch', 'size-mismatch') || attempt > rereads;
      const isElsewhere = isFaulty && (await source.distrust?.(repository, descriptor)) === true;
      if (!isElsewhere && (attempt > rereads || !(isWrong || isBroken))) throw error;
      if (isElsewhere) wrong = 0;
    }
    await pause(backoff(attempt, firstWait, longestWait), `read ${descriptor.digest}`, signal);
  }
}

async function readStream(stream: Readable, descriptor: Descriptor): Promise<Buffer> {
  const verifier = new Verifier(descriptor.digest, descriptor.size);
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    verifier.update(chunk);
    chunks.push(chunk);
  }
  verifier.end();
  return Buffer.concat(chunks);
}

/** A manifest with the bytes it came as. */
export interface LoadedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly manifest: Manifest | Index;
}

/** Reads, verifies and parses a manifest or index. The descriptor gets the media type that the manifest has by its content. */
export async function readManifest(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions = {},
): Promise<LoadedManifest> {
  const bytes = await readContent(source, repository, descriptor, options);
  const what = `manifest ${descriptor.digest} of ${repository.registry}/${repository.repository}`;
  const manifest = parseManifest(bytes, descriptor.mediaType, what);
  return { descriptor: { ...descriptor, mediaType: manifest.mediaType }, bytes, manifest };
}

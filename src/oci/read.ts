import { AirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { Verifier } from './digest.js';
import { maxManifestSize, parseManifest, type Index, type Manifest } from './manifest.js';
import type { Repository } from './reference.js';
import type { FetchOptions, Source } from './source.js';

/** What is needed of a Source to read small content whole. */
export type Fetches = Pick<Source, 'fetch'>;

/**
 * Reads small content (a manifest, a config) whole and verifies it.
 * @throws AirliftError `input` where the descriptor says more than `limit` bytes; what `fetch` throws; `size-mismatch` or
 *   `digest-mismatch` where the content is not what the descriptor says
 */
export async function readContent(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions & { readonly limit?: number } = {},
): Promise<Buffer> {
  const limit = options.limit ?? maxManifestSize;
  if (descriptor.size > limit) {
    throw new AirliftError(
      'input',
      `read ${descriptor.mediaType} ${descriptor.digest}: too large to hold; got ${descriptor.size} bytes, want at most ${limit}`,
    );
  }
  const verifier = new Verifier(descriptor.digest, descriptor.size);
  const chunks: Buffer[] = [];
  const stream = await source.fetch(repository, descriptor, { signal: options.signal });
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

/** Reads, verifies and parses a manifest or index. */
export async function readManifest(
  source: Fetches,
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions = {},
): Promise<LoadedManifest> {
  const bytes = await readContent(source, repository, descriptor, options);
  const what = `manifest ${descriptor.digest} of ${repository.registry}/${repository.repository}`;
  return { descriptor, bytes, manifest: parseManifest(bytes, descriptor.mediaType, what) };
}

import type { Readable } from 'node:stream';
import type { Descriptor } from './descriptor.js';
import type { Digest } from './digest.js';
import type { Reference, Repository } from './reference.js';

/** An image: its name and the descriptor that the name points at. */
export interface Image {
  readonly reference: Reference;
  readonly root: Descriptor;
  /** The publisher's index, if `root` is a filtered copy of it. */
  readonly original?: Descriptor | undefined;
}

export interface FetchOptions {
  /** The byte to start at, to resume a partial blob. */
  readonly offset?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Set for a probe: the reference probably does not exist, so a 404 from HEAD is trusted. */
  readonly isGuess?: boolean | undefined;
  /** The caller is done with a chunk when it takes the next but one: the source may then reuse the chunk's memory. */
  readonly reusesMemory?: boolean | undefined;
}

/**
 * The source of content: a registry, a bundle, an archive.
 *
 * `fetch` does not verify: the reader checks the bytes against the descriptor.
 */
export interface Source {
  /**
   * Resolves a reference to the descriptor that it points at.
   * @throws AirliftError `not-found`
   */
  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor>;
  /**
   * Opens the content of a descriptor, starting at `offset`. A source that cannot start there throws `unsupported`.
   * @throws AirliftError `not-found`
   */
  fetch(repository: Repository, descriptor: Descriptor, options?: FetchOptions): Promise<Readable>;
  /**
   * Reports that the content of the last `fetch` was wrong or broke off.
   * @returns whether the next `fetch` uses another mirror
   */
  distrust?(repository: Repository, descriptor: Descriptor): Promise<boolean>;
  /** Lists the referrers of a digest: signatures, attestations, SBOMs (distribution-spec, "Listing Referrers"). */
  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor>;
}

/** Returns a source that passes all calls on to `source`, except for the methods in `changes`. */
export function changedSource(source: Source, changes: Partial<Source>): Source {
  return {
    resolve: (reference, options) => source.resolve(reference, options),
    fetch: (repository, descriptor, options) => source.fetch(repository, descriptor, options),
    distrust: async (repository, descriptor) => (await source.distrust?.(repository, descriptor)) === true,
    referrers: (repository, digest, options) => source.referrers(repository, digest, options),
    ...changes,
  };
}

import type { Readable } from 'node:stream';
import type { Descriptor } from './descriptor.js';
import type { Digest } from './digest.js';
import type { Reference, Repository } from './reference.js';

/** An image to carry: its name and what the name points at. */
export interface Image {
  readonly reference: Reference;
  readonly root: Descriptor;
  /** The index as its publisher made it, where `root` is a filtered copy of it. */
  readonly original?: Descriptor | undefined;
}

export interface FetchOptions {
  /** Byte to begin at, to go on with a blob that is half there. */
  readonly offset?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Nobody named the reference, and mostly it is not there: find that out at the least cost. */
  readonly isGuess?: boolean | undefined;
}

/**
 * Where content comes from: a registry, a bundle, an archive.
 *
 * `fetch` gives the bytes as they are held: whoever reads them checks them against the descriptor.
 */
export interface Source {
  /**
   * What a reference points at.
   * @throws AirliftError `not-found`
   */
  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor>;
  /**
   * The content of a descriptor from `offset` on. A source that can't begin there throws `unsupported`.
   * @throws AirliftError `not-found`
   */
  fetch(repository: Repository, descriptor: Descriptor, options?: FetchOptions): Promise<Readable>;
  /**
   * Notes that the content which `fetch` gave last was wrong or broke off.
   * @returns whether `fetch` asks another place from now on
   */
  distrust?(repository: Repository, descriptor: Descriptor): Promise<boolean>;
  /** What refers to a digest: signatures, attestations, SBOMs (distribution-spec, "Listing Referrers"). */
  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor>;
}

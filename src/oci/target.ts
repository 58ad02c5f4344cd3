import type { Readable } from 'node:stream';
import type { Descriptor } from './descriptor.js';
import type { Reference, Repository } from './reference.js';

/** Opens content at a byte offset; may be called again for another try. */
export type OpenContent = (offset: number) => Promise<Readable>;

export interface TargetOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PushOptions extends TargetOptions {
  /** A repository of the same target that is known to hold the blob, to mount it from. */
  readonly mountFrom?: Repository | undefined;
}

export interface ExistsOptions extends TargetOptions {
  /** It is pushed where it is not there: everything that counts as not there (`verdictOf`) is a no. */
  readonly isGuess?: boolean | undefined;
}

/** What became of a push: bytes sent, mounted from another repository, or already there. */
export type Pushed = 'uploaded' | 'mounted' | 'existed';

/** Where content goes: a registry, an archive. Blobs are pushed before the manifests that name them, children before parents, tags last. */
export interface Target {
  /** Whether the repository holds the content, in full. */
  exists(repository: Repository, descriptor: Descriptor, options?: ExistsOptions): Promise<boolean>;
  /** Puts a blob, or a manifest by its digest, there. The content is verified against the descriptor on its way. */
  push(
    repository: Repository,
    descriptor: Descriptor,
    open: OpenContent,
    options?: PushOptions,
  ): Promise<Pushed>;
  /** Lets `reference`'s tag point at a manifest that was pushed before. */
  tag(
    reference: Reference,
    descriptor: Descriptor,
    open: OpenContent,
    options?: TargetOptions,
  ): Promise<void>;
}

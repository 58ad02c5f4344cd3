import type { Readable } from 'node:stream';
import type { Descriptor } from './descriptor.js';
import type { Reference, Repository } from './reference.js';

/**
 * Opens content at a byte offset; called again for each attempt. The memory of a chunk may be reused when the next but one is taken: a
 * target that keeps chunks copies them.
 */
export type OpenContent = (offset: number) => Promise<Readable>;

export interface TargetOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PushOptions extends TargetOptions {
  /** A repository of the same target that probably holds the blob, to mount it from. */
  readonly mountFrom?: Repository | undefined;
}

export interface ExistsOptions extends TargetOptions {
  /** Set before a push: every answer that counts as absent (`verdictOf`) means no. */
  readonly isGuess?: boolean | undefined;
}

/** The result of a push: uploaded, mounted from another repository, or already present. */
export type Pushed = 'uploaded' | 'mounted' | 'existed';

/** The destination of content: a registry, an archive. Callers push blobs before manifests, children before parents, tags last. */
export interface Target {
  /** Reports whether the repository holds the whole content. */
  exists(repository: Repository, descriptor: Descriptor, options?: ExistsOptions): Promise<boolean>;
  /** Pushes a blob, or a manifest by its digest, and verifies the content against the descriptor. */
  push(
    repository: Repository,
    descriptor: Descriptor,
    open: OpenContent,
    options?: PushOptions,
  ): Promise<Pushed>;
  /** Points the tag of `reference` at a manifest that was pushed before. */
  tag(
    reference: Reference,
    descriptor: Descriptor,
    open: OpenContent,
    options?: TargetOptions,
  ): Promise<void>;
}

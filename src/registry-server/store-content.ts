import type { Readable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';

/** A part of a sorted list: at most `limit` entries that sort after `after`. */
export interface Page {
  readonly after: string | undefined;
  readonly limit: number;
}

/** A manifest or index as it was pushed. */
export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Content that is open to be read a chunk at a time. */
export interface OpenContent {
  /** Reads `length` bytes from `position` on; fewer at the end. */
  read(position: number, length: number): Promise<Buffer>;
  /** Throws once the content may have changed since it was opened. */
  check?(): Promise<void>;
  close(): Promise<void>;
}

/** A blob that a repository holds. */
export interface StoredBlob {
  /** Bytes of the whole blob. */
  readonly size: number;
  /** A small blob's bytes, whose digest is checked; how to open a large one. */
  readonly content: Uint8Array | (() => Promise<OpenContent>);
}

/** A manifest to keep, checked by the server against its digest and its children. */
export interface PushedManifest extends StoredManifest {
  /** The digest it refers to, and how it is listed among that one's referrers. */
  readonly referrer: { readonly subject: Digest; readonly descriptor: Descriptor } | undefined;
}

/** Where an upload stands. */
export interface UploadState {
  readonly id: string;
  /** Bytes held. */
  readonly size: number;
}

/**
 * What stands behind a registry server: a directory, a bundle. Repository paths, tags and digests have been checked by
 * their grammar before they come here. Lists are sorted by code unit. What is not there is `undefined`, not an error.
 */
export interface ContentStore {
  /** Repositories that hold a manifest. */
  repositories(page: Page): Promise<string[]>;
  /** The tags of a repository, `undefined` where there is no such repository. */
  tags(repository: string, page: Page): Promise<string[] | undefined>;
  resolveTag(repository: string, tag: string): Promise<Digest | undefined>;
  manifest(repository: string, digest: Digest): Promise<StoredManifest | undefined>;
  blob(repository: string, digest: Digest): Promise<StoredBlob | undefined>;
  /**
   * The repository that holds what `registry` calls `repository`, for a store that knows where its images come from; undefined
   * where it holds none of them. A store without this method is asked for both names.
   */
  readonly mirror?: ((registry: string, repository: string) => string | undefined) | undefined;
  /** What refers to `digest`, in an order that stays, beginning after the one of digest `after`. */
  referrers(repository: string, digest: Digest, after: string | undefined): AsyncIterable<Descriptor>;
  /** How content gets in; a store without it is read-only. */
  readonly push?: PushStore | undefined;
}

/** The writing half of a store. An upload belongs to one repository and is known by its id there only. */
export interface PushStore {
  /** @param algorithm of the digest that the upload will most likely end with */
  startUpload(repository: string, algorithm: DigestAlgorithm): Promise<UploadState>;
  /** How far an upload is. An append that is under way is broken off first: its client has gone and comes back. */
  upload(repository: string, id: string): Promise<UploadState | undefined>;
  /**
   * Adds `body` to an upload. Of a body that breaks off, what arrived is kept. Another append that is under way is
   * broken off first: its client has gone and comes back.
   * @param length bytes the body must have; of a body with more or fewer, none are kept
   * @throws AirliftError `size-mismatch` where it has not, `not-found`, `no-space`
   */
  append(repository: string, id: string, body: Readable, length?: number): Promise<UploadState>;
  /**
   * Ends an upload: its content becomes a blob of the repository. Content that is not what `digest` says is dropped.
   * @throws AirliftError `digest-mismatch`, `not-found`
   */
  finishUpload(repository: string, id: string, digest: Digest): Promise<void>;
  /**
   * Drops an upload.
   * @throws AirliftError `not-found`
   */
  cancelUpload(repository: string, id: string): Promise<void>;
  /** Makes a blob of `from` (of any repository where it is not named) one of `repository` too. Gives whether there was one. */
  mount(repository: string, digest: Digest, from: string | undefined): Promise<boolean>;
  /** Keeps a manifest and lets `tags` point at it. */
  putManifest(repository: string, manifest: PushedManifest, tags: readonly string[]): Promise<void>;
  deleteTag(repository: string, tag: string): Promise<boolean>;
  /** Forgets a manifest, the tags that point at it, and that it refers to `subject`. */
  deleteManifest(repository: string, digest: Digest, subject: Digest | undefined): Promise<boolean>;
  deleteBlob(repository: string, digest: Digest): Promise<boolean>;
}

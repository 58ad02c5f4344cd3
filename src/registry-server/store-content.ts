import type { Readable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';

/** A page of a sorted list: at most `limit` entries after `after`. */
export interface Page {
  readonly after: string | undefined;
  readonly limit: number;
}

/** A manifest or index, byte for byte as it was pushed. */
export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** The state of a file: other content has another one. */
export interface ContentState {
  /** The file, and its size and times. */
  readonly id: string;
  /** Time of the last change of its content or attributes, in milliseconds since 1970. */
  readonly changed: number;
}

/** Content that is open to be read a chunk at a time. */
export interface OpenContent {
  /**
   * Reads `length` bytes from `position` on; fewer at the end.
   * @param memory may be filled, to save new memory; holds at least `length` bytes
   */
  read(position: number, length: number, memory: Buffer): Promise<Buffer>;
  /** Throws once the content may have changed since it was opened. */
  check?(): Promise<void>;
  /** Returns the state of the files that the content is read from; undefined if it is unknown. */
  state?(): Promise<ContentState | undefined>;
  /** Returns the error to report instead of one that wrong content has caused. */
  explain?(error: unknown): unknown;
  close(): Promise<void>;
}

/** A blob that a repository holds. */
export interface StoredBlob {
  /** Bytes of the whole blob. */
  readonly size: number;
  /** The verified bytes of a small blob, or a function that opens a large one. */
  readonly content: Uint8Array | (() => Promise<OpenContent>);
}

/** A manifest to store. The server has verified its digest and that its content exists. */
export interface PushedManifest extends StoredManifest {
  /** Its subject, and its descriptor in the subject's list of referrers. */
  readonly referrer: { readonly subject: Digest; readonly descriptor: Descriptor } | undefined;
}

/** The state of an upload. */
export interface UploadState {
  readonly id: string;
  /** Bytes received. */
  readonly size: number;
}

/**
 * The content that a registry server serves: a directory or a bundle. The server has checked the grammar of all repository paths, tags
 * and digests that it passes. Lists are sorted by code unit. Methods return undefined for missing content.
 */
export interface ContentStore {
  /** Lists the repositories that contain a manifest. */
  repositories(page: Page): Promise<string[]>;
  /** Lists the tags of a repository; undefined if it does not exist. */
  tags(repository: string, page: Page): Promise<string[] | undefined>;
  resolveTag(repository: string, tag: string): Promise<Digest | undefined>;
  manifest(repository: string, digest: Digest): Promise<StoredManifest | undefined>;
  blob(repository: string, digest: Digest): Promise<StoredBlob | undefined>;
  /**
   * Returns the repository with the images that `registry` has in `repository`; undefined if the store has none. For a store that knows
   * the registry of each image; with any other, the server tries the name with and without the registry.
   */
  readonly mirror?: ((registry: string, repository: string) => string | undefined) | undefined;
  /** Lists the referrers of `digest` in a stable order, beginning after the referrer `after`. */
  referrers(repository: string, digest: Digest, after: string | undefined): AsyncIterable<Descriptor>;
  /** Accepts pushes. A store without it is read-only. */
  readonly push?: PushStore | undefined;
}

/** Accepts pushes for a store. The id of an upload is valid in its repository only. */
export interface PushStore {
  /** @param algorithm the likely algorithm of the blob's digest */
  startUpload(repository: string, algorithm: DigestAlgorithm): Promise<UploadState>;
  /** Returns the state of an upload. Interrupts an append that is under way: its client has lost the connection and returns. */
  upload(repository: string, id: string): Promise<UploadState | undefined>;
  /**
   * Appends `body` to an upload. If the body breaks off, the bytes that arrived are kept. Interrupts another append that is under way: its
   * client has lost the connection and returns.
   * @param length the bytes that the body must have; nothing is kept of a body with more or fewer
   * @throws AirliftError `size-mismatch` for a body of another length, `not-found`, `no-space`
   */
  append(repository: string, id: string, body: Readable, length?: number): Promise<UploadState>;
  /**
   * Ends an upload and adds its content to the repository as a blob. Drops content with another digest.
   * @throws AirliftError `digest-mismatch`, `not-found`
   */
  finishUpload(repository: string, id: string, digest: Digest): Promise<void>;
  /**
   * Drops an upload.
   * @throws AirliftError `not-found`
   */
  cancelUpload(repository: string, id: string): Promise<void>;
  /** Adds a blob of the repository `from` to `repository` too. Without `from`, any repository will do. Returns whether the blob was found. */
  mount(repository: string, digest: Digest, from: string | undefined): Promise<boolean>;
  /**
   * Protects a blob from a prune that runs at the same time: a client that learns that a blob exists does not push it.
   * @returns the blob; undefined if the repository does not hold it
   */
  keepBlob(repository: string, digest: Digest): Promise<StoredBlob | undefined>;
  /**
   * Protects a manifest from a prune, as `keepBlob` does, with all blobs and children below it that the repository holds.
   * @returns the manifest; undefined if the repository does not hold it
   */
  keepManifest(repository: string, digest: Digest): Promise<StoredManifest | undefined>;
  /** Stores a manifest and points `tags` to it. */
  putManifest(repository: string, manifest: PushedManifest, tags: readonly string[]): Promise<void>;
  deleteTag(repository: string, tag: string): Promise<boolean>;
  /** Removes a manifest, the tags that point to it, and its entry in the referrers of `subject`. */
  deleteManifest(repository: string, digest: Digest, subject: Digest | undefined): Promise<boolean>;
  deleteBlob(repository: string, digest: Digest): Promise<boolean>;
}

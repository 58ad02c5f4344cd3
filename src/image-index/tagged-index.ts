import { AirliftError, checkInterrupted, isAirliftError, messageOf } from '../errors.js';
import { IndexSources, type IndexSource, type LoadedSource } from './sources.js';
import type { ComposedIndex, IndexDraft } from '../oci/compose.js';
import type { Digest } from '../oci/digest.js';
import { isRefusedReading } from '../oci/guess.js';
import { childrenOf, type ExistingIndex, type IndexChild } from '../oci/index-child.js';
import { parseManifest } from '../oci/manifest.js';
import { isIndex } from '../oci/media-types.js';
import { readManifest } from '../oci/read.js';
import { readableOf } from '../oci/readable.js';
import { formatReference, formatRepository, type Reference } from '../oci/reference.js';
import type { OpenContent } from '../oci/target.js';
import type { OnEvent } from '../progress.js';
import { Publisher } from '../publish/publisher.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';

/** Options of every function that changes an index. */
export interface IndexOptions {
  /** Reference of the index, with its tag. */
  readonly target: Reference;
  /** How to reach registries; default: the system's certificates, no credentials, no proxy. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Fields to set on the index itself. */
export interface IndexFieldOptions {
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly artifactType?: string | undefined;
  /** A manifest in the same repository that the index refers to. */
  readonly subject?: Reference | undefined;
}

/** Result of changing an index. */
export interface IndexSummary {
  readonly reference: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** Digest that the tag pointed at before; undefined if the tag did not exist. */
  readonly previous: Digest | undefined;
  readonly children: number;
  /** Number of children that were copied into the repository. */
  readonly copied: number;
}

/** The index under a tag: reads the present one, loads sources, writes the new one. Call `close` when done. */
export class TaggedIndex {
  readonly name: string;
  readonly #registry: Registry;
  readonly #sources: IndexSources;
  /** The digest of the tag when this work began. */
  #previous: Digest | undefined;
  /** Children that the repository holds already, because the present index lists them. */
  #held: ReadonlySet<Digest> = new Set();

  constructor(
    private readonly options: IndexOptions,
    nest?: boolean,
  ) {
    const { target, signal } = options;
    this.name = formatReference(target);
    if (target.tag === undefined || target.digest !== undefined) {
      throw new AirliftError('usage', `write index ${this.name}: not a reference with a tag alone`, {
        hint: 'give the tag to write to, such as 127.0.0.1:5000/team/app:1.0',
      });
    }
    this.#registry = new Registry(options.registry, options.hooks);
    this.#sources = new IndexSources(this.#registry, { nest, signal });
  }

  async loadAll(sources: readonly IndexSource[]): Promise<LoadedSource[]> {
    const loaded: LoadedSource[] = [];
    for (const source of sources) loaded.push(await this.#sources.load(source));
    return loaded;
  }

  /** Records the present digest of the tag, which `write` replaces. */
  async recordPrevious(): Promise<void> {
    this.#previous = await this.#current();
  }

  async #current(): Promise<Digest | undefined> {
    try {
      const { signal } = this.options;
      return (await this.#registry.resolve(this.options.target, { signal, isGuess: true })).digest;
    } catch (error) {
      if (isAirliftError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  /**
   * Reads the index that the tag points at.
   * @throws AirliftError `usage` if the tag points at something else; what the registry throws
   */
  async existing(): Promise<ExistingIndex> {
    const { target, signal } = this.options;
    const descriptor = await this.#registry.resolve(target, { signal });
    this.#previous = descriptor.digest;
    if (!isIndex(descriptor.mediaType)) {
      throw new AirliftError('usage', `edit index ${this.name}: not an index; got ${descriptor.mediaType}`, {
        hint: `airlift index create ${this.name} ${this.name} OTHER… makes one of this image and others`,
      });
    }
    const { bytes } = await readManifest(this.#registry, target, descriptor, { signal });
    const index = { descriptor, bytes, from: this.name };
    this.#held = new Set(childrenOf(index).map((child) => child.descriptor.digest));
    return index;
  }

  async setFields(draft: IndexDraft, options: IndexFieldOptions): Promise<void> {
    const { subject, annotations, artifactType } = options;
    const { target, signal } = this.options;
    if (subject !== undefined && formatRepository(subject) !== formatRepository(target)) {
      throw new AirliftError(
        'usage',
        `write index ${this.name}: its subject must be in the same repository; got ${formatReference(subject)}`,
        { hint: 'registries list referrers in the repository of their subject' },
      );
    }
    const descriptor = subject === undefined ? undefined : await this.#registry.resolve(subject, { signal });
    draft.setFields({ annotations, artifactType, subject: descriptor });
  }

  /**
   * Copies what the repository lacks, sets the tag, and reads it back.
   * @throws AirliftError `conflict` if another client changed the tag meanwhile; what the registry throws
   */
  async write(index: ComposedIndex, children: readonly IndexChild[]): Promise<IndexSummary> {
    const { target, signal } = this.options;
    const copied = await this.#copy(children);
    const previous = this.#previous;
    if (previous !== index.descriptor.digest) {
      checkInterrupted(signal, 'write index');
      await this.#checkUnchanged();
      const open: OpenContent = (offset) => Promise.resolve(readableOf(index.bytes, offset));
      // Registries add the index to the referrers of its subject when it is pushed by digest.
      const { subject } = parseManifest(index.bytes, index.descriptor.mediaType, `index ${this.name}`);
      if (subject !== undefined) await this.#registry.push(target, index.descriptor, open, { signal });
      await this.#registry.tag(target, index.descriptor, open, { signal });
      await this.#readBack(index.descriptor.digest);
    }
    const { mediaType, digest } = index.descriptor;
    return { reference: this.name, mediaType, digest, previous, children: children.length, copied };
  }

  async #readBack(want: Digest): Promise<void> {
    const { target, signal, onEvent } = this.options;
    try {
      const held = await this.#registry.resolve(target, { signal });
      if (held.digest !== want) throw this.#changed(held.digest, want);
    } catch (error) {
      if (!isRefusedReading(error)) throw error;
      onEvent?.({
        event: 'warning',
        message: `the registry accepted the index and does not show it: ${messageOf(error)}`,
      });
    }
  }

  async #copy(children: readonly IndexChild[]): Promise<number> {
    const { target, onEvent, signal } = this.options;
    const home = formatRepository(target);
    const publisher = new Publisher(this.#registry, this.#registry, {
      concurrency: 8,
      onExistingTag: 'overwrite',
      originalIndex: 'auto',
      warn: (message) => onEvent?.({ event: 'warning', message }),
      lenient: true,
      onEvent,
      signal,
    });
    let copied = 0;
    for (const child of children) {
      const { digest } = child.descriptor;
      const from = this.#sources.homeOf(child);
      if (from === undefined || formatRepository(from) === home || this.#held.has(digest)) continue;
      const reference = { registry: from.registry, repository: from.repository, digest };
      const name = { registry: target.registry, repository: target.repository, digest };
      await publisher.publish({ reference, root: child.descriptor }, name);
      copied++;
    }
    return copied;
  }

  /** Checks that the tag has not changed. Registries cannot compare and swap; this finds nearly all concurrent changes. */
  async #checkUnchanged(): Promise<void> {
    const now = await this.#current();
    if (now !== this.#previous) throw this.#changed(now, this.#previous);
  }

  #changed(got: Digest | undefined, want: Digest | undefined): AirliftError {
    return new AirliftError(
      'conflict',
      `write index ${this.name}: another client changed the tag meanwhile; got ${got ?? 'nothing'}, want ${want ?? 'nothing'}`,
      { hint: 'run the same command again' },
    );
  }

  async close(): Promise<void> {
    await this.#registry.close();
  }
}

import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { NamedLayer } from '../merge/open-inputs.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Reference, Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import type { Publisher } from '../publish/publisher.js';
import { siteRepository, type Site } from '../site/names.js';

/** The source of an import whose inputs are still being opened: until `open`, it holds only the layers that are ready. */
export class OpeningSource implements Source {
  readonly #layers = new Map<Digest, NamedLayer['open']>();
  #inputs: Source | undefined;

  add({ descriptor, open }: NamedLayer): void {
    this.#layers.set(descriptor.digest, open);
  }

  /** Sets the source of all content. */
  open(inputs: Source): void {
    this.#inputs = inputs;
    this.#layers.clear();
  }

  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor> {
    return this.#opened().resolve(reference, options);
  }

  async fetch(repository: Repository, descriptor: Descriptor, options?: FetchOptions): Promise<Readable> {
    const layer = await this.#layers.get(descriptor.digest)?.();
    if (layer !== undefined) return layer.stream(options?.offset, options);
    return this.#opened().fetch(repository, descriptor, options);
  }

  async distrust(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    return (await this.#inputs?.distrust?.(repository, descriptor)) === true;
  }

  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor> {
    return this.#opened().referrers(repository, digest, options);
  }

  #opened(): Source {
    if (this.#inputs !== undefined) return this.#inputs;
    throw new AirliftError('io', 'read inputs: they are not open yet');
  }
}

/**
 * Pushes layers while the archives that contain them are still being read, so that compression and upload overlap. A failure only ends
 * this: publishing the image pushes the layer again, and reports the failure.
 */
export class EarlyLayers {
  readonly #pushes = new Set<Promise<void>>();
  #isOver = false;

  constructor(
    private readonly source: OpeningSource,
    private readonly publisher: Publisher,
    private readonly to: Site,
  ) {}

  readonly push = (layer: NamedLayer): void => {
    if (this.#isOver) return;
    const { descriptor, reference } = layer;
    const name = this.#nameOf(reference);
    if (name === undefined) return;
    this.source.add(layer);
    const node = { descriptor, repository: reference, role: 'layer', bytes: undefined } as const;
    const push = this.publisher
      .pushBlob(node, name)
      .catch(() => void (this.#isOver = true))
      .finally(() => this.#pushes.delete(push));
    this.#pushes.add(push);
  };

  /** Waits until no layer is being pushed. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#pushes);
  }

  /** Returns the repository at the site; undefined where the rules give an invalid one, which is reported with all other names. */
  #nameOf(reference: Reference): Repository | undefined {
    try {
      return siteRepository(this.to, reference);
    } catch (error) {
      if (!isAirliftError(error, 'usage')) throw error;
      return undefined;
    }
  }
}

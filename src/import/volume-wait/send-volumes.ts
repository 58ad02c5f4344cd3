import { forEachOf } from '../../concurrency.js';
import { checkInterrupted, isAirliftError } from '../../errors.js';
import type { BundleBlob } from '../../bundle/format/catalog.js';
import type { FoundVolume } from '../../bundle/format/volumes/find.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { formatRepository, parseReference, type Repository } from '../../oci/reference.js';
import type { SiteRegistry } from '../../publish/blob-publisher.js';
import type { Publisher } from '../../publish/publisher.js';
import { siteRepository, type Site } from '../../site/names.js';
import type { WaitedBundle } from './waited-bundle.js';

type Layer = BundleBlob & { readonly offset: number };

/** A repository at the site that needs a layer, and one of the bundle that the layer comes from. */
interface Destination {
  readonly source: Repository;
  readonly target: Repository;
}

export interface SendOptions {
  readonly to: Site;
  /** Blobs that are sent at a time. */
  readonly concurrency: number;
  /** Go on with other repositories after one of them refuses a layer. */
  readonly keepGoing: boolean;
  /** References of images that are not published. */
  readonly kept: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
}

function descriptorOf({ digest, size }: Layer): Descriptor {
  return { mediaType: 'application/octet-stream', digest, size };
}

/** Reports whether wrong or unreadable content may have caused an error, and not the registry. */
function isOfInput(error: unknown): boolean {
  return isAirliftError(error, 'io', 'damaged', 'digest-mismatch', 'size-mismatch');
}

/** Sends the layers of a bundle to all repositories that need them, while their volume is there. */
export class VolumeSender {
  readonly #failed = new Map<string, unknown>();
  readonly #most: number;

  constructor(
    private readonly bundle: WaitedBundle,
    private readonly site: Pick<SiteRegistry, 'exists'>,
    private readonly publisher: Pick<Publisher, 'pushBlob'>,
    private readonly options: SendOptions,
  ) {
    this.#most = bundle.front.catalog.counts().images;
  }

  /**
   * Asks for the volumes that hold layers which the site lacks, and sends those layers. No manifest and no tag is pushed.
   * @throws AirliftError as `WaitedBundle.insert` and `Publisher.pushBlob`
   */
  async send(): Promise<void> {
    const needed = await this.#neededVolumes();
    for (const volume of this.bundle.volumes) {
      if (!needed.has(volume.number)) continue;
      while (!(await this.#tryVolume(volume))) continue;
    }
    await this.bundle.held.dropBorder();
    this.bundle.held.eject();
  }

  /** Throws the error of a repository that refused a layer, if it did. */
  checkSent(repository: Repository): void {
    const name = formatRepository(repository);
    if (this.#failed.has(name)) throw this.#failed.get(name);
  }

  /** Finds the volumes with layers that a repository lacks. Does not ask for layers of volumes that are needed anyway. */
  async #neededVolumes(): Promise<ReadonlySet<number>> {
    const { bundle, options } = this;
    const needed = new Set<number>();
    const layers = bundle.front.catalog.layersBetween(0, Number.MAX_SAFE_INTEGER);
    await forEachOf(layers, options.concurrency, async (layer) => {
      const numbers = bundle.volumesOf(layer).map(({ number }) => number);
      if (numbers.every((number) => needed.has(number))) return;
      if (await this.#isMissing(layer)) for (const number of numbers) needed.add(number);
    });
    return needed;
  }

  /** Asks for a volume and sends its layers. Returns false if its medium failed meanwhile or was pulled out. */
  async #tryVolume(volume: FoundVolume): Promise<boolean> {
    await this.bundle.insert(volume);
    try {
      await this.#sendFrom(volume);
      return true;
    } catch (error) {
      if (isOfInput(error) && (await this.bundle.isLost(volume))) return false;
      throw error;
    }
  }

  /** Sends the layers that end in a volume, and keeps the beginning of the one that continues in the next. */
  async #sendFrom({ start, size }: FoundVolume): Promise<void> {
    const { bundle, options } = this;
    const { catalog, start: front } = bundle.front;
    const end = start + size - front;
    await forEachOf(catalog.layersBetween(start - front, end), options.concurrency, async (layer) => {
      if (layer.offset + layer.size <= end) await this.#push(layer);
    });
    const last = [...catalog.layersBetween(end - 1, end)];
    const crossing = last.find((layer) => layer.offset + layer.size > end);
    if (crossing !== undefined && (await this.#isMissing(crossing)))
      await bundle.held.keepBorder(front + crossing.offset, options.signal);
    else await bundle.held.dropBorder();
  }

  async #push(layer: Layer): Promise<void> {
    const descriptor = descriptorOf(layer);
    for (const [name, { source, target }] of this.#repositoriesOf(layer)) {
      checkInterrupted(this.options.signal, 'import');
      try {
        const node = { descriptor, repository: source, role: 'layer', bytes: undefined } as const;
        await this.publisher.pushBlob(node, target);
      } catch (error) {
        const { keepGoing, signal } = this.options;
        if (!keepGoing || signal?.aborted === true || isOfInput(error)) throw error;
        if (!this.#failed.has(name)) this.#failed.set(name, error);
      }
    }
  }

  async #isMissing(layer: Layer): Promise<boolean> {
    const { signal } = this.options;
    const descriptor = descriptorOf(layer);
    for (const { target } of this.#repositoriesOf(layer).values())
      if (!(await this.site.exists(target, descriptor, { isGuess: true, signal }))) return true;
    return false;
  }

  /** Returns the repositories at the site that need a layer, by name. */
  #repositoriesOf({ digest }: Layer): ReadonlyMap<string, Destination> {
    const repositories = new Map<string, Destination>();
    for (const reference of this.bundle.front.catalog.imagesWith(digest, this.#most)) {
      if (this.options.kept.has(reference)) continue;
      const source = parseReference(reference);
      const target = siteRepository(this.options.to, source);
      repositories.set(formatRepository(target), { source, target });
    }
    return repositories;
  }
}

import { AirliftError, checkInterrupted } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { OnEvent } from '../progress.js';
import { runnableImages, type RunnableImage } from '../plan/runnable-images.js';
import { SaveNames } from './names.js';
import type { SaveSource, SourceImage } from './source.js';
import { resumingContent } from '../transfer/resuming-stream.js';

/** Options of saving that choose and name images. */
export interface SaveJobOptions {
  /** Images to save. Default: all. */
  readonly images?: readonly Reference[] | undefined;
  /** New names: `OLD=NEW`, or only `NEW` if there is one image. Default: the names in the source. */
  readonly tags?: readonly string[] | undefined;
  /** Whether the output keeps digests in names. Default true; if false, names are compared without digests. */
  readonly namesWithDigests?: boolean | undefined;
  /** Retries of an interrupted stream. Default 5. */
  readonly retries?: number | undefined;
  /** The verb in messages. Default `save`. */
  readonly doing?: 'save' | 'load' | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The chosen images of a source, and their new names. */
export class SaveJob {
  readonly names: SaveNames;
  /** The verb in messages. */
  readonly doing: 'save' | 'load';
  /** The number of images. */
  readonly count: number;
  readonly #wanted: ReadonlySet<string> | undefined;

  /** @throws AirliftError `not-found` if the source lacks an image; `usage` or `conflict` if `tags` are wrong */
  constructor(
    private readonly from: SaveSource,
    private readonly options: SaveJobOptions,
  ) {
    const { images, tags = [], doing = 'save' } = options;
    this.doing = doing;
    this.#wanted = images === undefined ? undefined : new Set(images.map(formatReference));
    const missing = new Set(this.#wanted);
    let count = 0;
    for (const { reference } of this.images()) {
      count++;
      missing.delete(formatReference(reference));
    }
    for (const name of missing)
      throw new AirliftError('not-found', `${doing} ${name}: the source does not hold this image`);
    if (count === 0)
      throw new AirliftError('input', `${doing}: the source holds no images, only signatures and the like`);
    this.count = count;
    this.names = new SaveNames(tags, count, options.namesWithDigests ?? true);
    // Before anything is written: names of two images and unused new names fail here.
    for (const { reference, root } of this.images()) this.names.assign(reference, root.digest);
    this.names.checkUsed();
  }

  /** Yields the images to save, without those that belong to others, such as signatures. */
  *images(): Generator<SourceImage> {
    for (const image of this.from.images) {
      if (image.companionOf !== undefined) continue;
      if (this.#wanted === undefined || this.#wanted.has(formatReference(image.reference))) yield image;
    }
  }

  get source(): SaveSource['source'] {
    return this.from.source;
  }

  hasForeign(descriptor: Descriptor): boolean {
    return this.from.hasForeign(descriptor.digest);
  }

  /** Returns the runnable images at or below the root of an image. */
  async runnable({ reference, root, children = [] }: SourceImage): Promise<RunnableImage[]> {
    const found = await runnableImages(this.source, reference, root);
    return found.map((image) => ({
      ...image,
      platform:
        children.find(({ descriptor }) => descriptor.digest === image.digest)?.platform ?? image.platform,
    }));
  }

  /** Streams the content of a blob, unverified, and reports progress. */
  async *content(repository: Repository, descriptor: Descriptor): AsyncGenerator<Buffer> {
    const { retries = 5, onEvent, signal } = this.options;
    const { digest, size } = descriptor;
    const name = formatRepository(repository);
    const onProgress = (bytes: number): void =>
      onEvent?.({ event: 'blob', digest, size, bytes, repository: name });
    onProgress(0);
    yield* resumingContent(this.source, repository, descriptor, { retries, signal, onProgress });
    onEvent?.({ event: 'blob-done', digest, size, how: 'downloaded' });
  }

  warn(message: string): void {
    this.options.onEvent?.({ event: 'warning', message });
  }

  /** Reports how much there is to write: the number of images and of distinct blobs, and the bytes of these. */
  planned(plan: { readonly images: number; readonly blobs: number; readonly bytes: number }): void {
    this.options.onEvent?.({ event: 'planned', signatures: 0, resumedBytes: 0, ...plan });
  }

  /** Reports the `position`th image as done. */
  done(name: Reference, root: Descriptor, position: number, outcome?: 'loaded' | 'present'): void {
    const image = formatReference(name);
    const { digest } = root;
    this.options.onEvent?.({ event: 'image-done', image, position, images: this.count, digest, outcome });
  }

  /** @throws AirliftError `interrupted` */
  checkInterrupted(): void {
    checkInterrupted(this.options.signal, this.doing);
  }
}

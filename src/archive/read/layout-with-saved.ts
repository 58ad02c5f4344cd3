import type { Readable } from 'node:stream';
import type { Descriptor } from '../../oci/descriptor.js';
import { hexOf, type Digest } from '../../oci/digest.js';
import type { FoundImage, ShapeReader } from './archive.js';
import type { DockerArchive, SavedImage } from './docker-archive.js';
import type { OciLayout } from './oci-layout.js';

/**
 * An OCI layout that has a `manifest.json` too. The layout is what is read; but some versions of docker leave images out of
 * `index.json` where several are saved by digest, and these are taken from `manifest.json`.
 */
export class LayoutWithSaved implements ShapeReader {
  #rest: DockerArchive | undefined;

  constructor(
    private readonly layout: OciLayout,
    private readonly saved: readonly SavedImage[],
    private readonly readSaved: (saved: readonly SavedImage[]) => DockerArchive,
  ) {}

  async *images(): AsyncGenerator<FoundImage> {
    const configs = new Set<string>();
    for await (const image of this.layout.images()) {
      for (const { config } of image.children) if (config !== undefined) configs.add(hexOf(config));
      yield image;
    }
    const rest = this.saved.filter(({ config }) => !configs.has(config.slice(config.lastIndexOf('/') + 1)));
    if (rest.length === 0) return;
    this.#rest = this.readSaved(rest);
    yield* this.#rest.images();
  }

  async holds(descriptor: Descriptor): Promise<boolean> {
    return (await this.layout.holds(descriptor)) || ((await this.#rest?.holds(descriptor)) ?? false);
  }

  async open(descriptor: Descriptor, offset: number): Promise<Readable | undefined> {
    return (await this.layout.open(descriptor, offset)) ?? this.#rest?.open(descriptor, offset);
  }

  referrers(digest: Digest): AsyncIterable<Descriptor> {
    return this.layout.referrers(digest);
  }

  async close(): Promise<void> {
    await this.layout.close();
    await this.#rest?.close();
  }
}

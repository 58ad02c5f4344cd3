import type { TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import type { Head } from './head.js';
import { sha256Of } from './sums.js';

/**
 * Digests of the entries of a bundle's head, each of which is hashed once: the catalog and the lists of a large bundle are tens of
 * megabytes, several checks ask for them, and a hostile list can name one entry on every line.
 */
export class HeadDigests {
  readonly #known = new Map<string, string>();

  constructor(
    readonly file: BundleFile,
    readonly head: Head,
  ) {}

  /** Hex of the sha256 of an entry of the head. */
  async sha256Of(name: string, entry: TarEntry): Promise<string> {
    const known = this.#known.get(name) ?? (await sha256Of(this.file, entry));
    this.#known.set(name, known);
    return known;
  }
}

import type { Digest } from '../oci/digest.js';
import { DigestMap } from '../oci/digest-map.js';
import type { Repository } from '../oci/reference.js';

/**
 * What a run knows about each blob: whether it is planned, and which repositories of the site hold it. A large run has a hundred thousand
 * blobs, so nothing is kept of one but its digest and a number.
 */
export class BlobRecords {
  /** For each blob twice the index of its holders in `#holders`, plus 1 if it is planned. */
  readonly #records = new DigestMap();
  /** Lists of repositories. The first is empty; blobs that only one repository holds share its list. */
  readonly #holders: Repository[][] = [[]];
  /** The index of the list with only one repository. */
  readonly #alone = new Map<Repository, number>();

  /** Plans a blob. Returns false if it was planned before. */
  plan(digest: Digest): boolean {
    const record = this.#records.get(digest);
    if (record % 2 === 1) return false;
    this.#records.set(digest, record + 1);
    return true;
  }

  /** Returns the repositories that are known to hold a blob; usually one. */
  holdersOf(digest: Digest): readonly Repository[] {
    return this.#holders[this.#indexOf(digest)] ?? [];
  }

  /** Records that a repository, given by the same object each time, holds a blob. */
  addHolder(digest: Digest, repository: Repository): void {
    const known = this.#holders[this.#indexOf(digest)] ?? [];
    if (known.includes(repository)) return;
    const [first] = known;
    if (known.length > 1) known.push(repository);
    else if (first === undefined) this.#setHolders(digest, this.#indexOfAlone(repository));
    else this.#setHolders(digest, this.#holders.push([first, repository]) - 1);
  }

  #indexOf(digest: Digest): number {
    return Math.floor(this.#records.get(digest) / 2);
  }

  #setHolders(digest: Digest, index: number): void {
    this.#records.set(digest, index * 2 + (this.#records.get(digest) % 2));
  }

  #indexOfAlone(repository: Repository): number {
    const known = this.#alone.get(repository);
    if (known !== undefined) return known;
    const index = this.#holders.push([repository]) - 1;
    this.#alone.set(repository, index);
    return index;
  }
}

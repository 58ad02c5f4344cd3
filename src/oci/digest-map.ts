import { randomFillSync } from 'node:crypto';
import { algorithmOf, hexOf, type Digest } from './digest.js';

/** Words of 32 bits in a SHA-256 digest. */
const words = 8;
/** Entries of a chunk of memory. */
const chunkEntries = 4096;
const chunkWords = chunkEntries * (words + 1);

/**
 * A map from digests to numbers below 2^32 for long lists: an entry takes 40 to 50 bytes, where a `Map` with texts takes 150 or more. The
 * value of a digest that is not in the map is 0.
 */
export class DigestMap {
  /** The digests in the order in which they were set, each followed by its value. */
  readonly #chunks: Uint32Array[] = [];
  #size = 0;
  /** A hash table with open addressing: the number of an entry, from 1; 0 for a free place. */
  #table = new Uint32Array(1024);
  /** Factors of the hash, random so that nobody can choose digests with equal hashes. */
  readonly #factors = randomFillSync(new Uint32Array(words));
  /** The digest that is looked up. */
  readonly #key = new Uint32Array(words);
  readonly #keyBytes = Buffer.from(this.#key.buffer);
  /** Digests by other algorithms, which are rare. */
  readonly #others = new Map<Digest, number>();

  get(digest: Digest): number {
    if (!this.#read(digest)) return this.#others.get(digest) ?? 0;
    const entry = this.#table[this.#find()] ?? 0;
    return entry === 0 ? 0 : (this.#chunkOf(entry)[this.#offsetOf(entry) + words] ?? 0);
  }

  set(digest: Digest, value: number): void {
    if (!this.#read(digest)) {
      this.#others.set(digest, value);
      return;
    }
    const place = this.#find();
    const entry = this.#table[place] ?? 0;
    if (entry === 0) this.#add(place, value);
    else this.#chunkOf(entry)[this.#offsetOf(entry) + words] = value;
  }

  /** Makes a digest the key. Returns false for a digest that does not fit. */
  #read(digest: Digest): boolean {
    if (algorithmOf(digest) !== 'sha256') return false;
    this.#keyBytes.write(hexOf(digest), 'hex');
    return true;
  }

  #add(place: number, value: number): void {
    const entry = ++this.#size;
    if ((entry - 1) % chunkEntries === 0) this.#chunks.push(new Uint32Array(chunkWords));
    const chunk = this.#chunkOf(entry);
    const offset = this.#offsetOf(entry);
    chunk.set(this.#key, offset);
    chunk[offset + words] = value;
    this.#table[place] = entry;
    if (this.#size * 2 > this.#table.length) this.#grow();
  }

  #grow(): void {
    this.#table = new Uint32Array(this.#table.length * 2);
    for (let entry = 1; entry <= this.#size; entry++) {
      const offset = this.#offsetOf(entry);
      this.#key.set(this.#chunkOf(entry).subarray(offset, offset + words));
      this.#table[this.#find()] = entry;
    }
  }

  /** Returns the place of the key in the table, or the free place where it belongs. */
  #find(): number {
    const last = this.#table.length - 1;
    for (let place = this.#hash() & last; ; place = (place + 1) & last) {
      const entry = this.#table[place] ?? 0;
      if (entry === 0 || this.#isKey(entry)) return place;
    }
  }

  #hash(): number {
    let hash = 0;
    for (let at = 0; at < words; at++)
      hash = (hash + Math.imul((this.#key[at] ?? 0) + at, this.#factors[at] ?? 0)) | 0;
    // The upper bits depend on all bits of the key.
    return hash ^ (hash >>> 16);
  }

  #isKey(entry: number): boolean {
    const chunk = this.#chunkOf(entry);
    const offset = this.#offsetOf(entry);
    for (let at = 0; at < words; at++) if (chunk[offset + at] !== this.#key[at]) return false;
    return true;
  }

  #chunkOf(entry: number): Uint32Array {
    return this.#chunks[Math.floor((entry - 1) / chunkEntries)] as Uint32Array;
  }

  #offsetOf(entry: number): number {
    return ((entry - 1) % chunkEntries) * (words + 1);
  }
}

/** A map of at most `limit` entries: one more drops the entry that was set first. */
export class BoundedMap<K, V> {
  readonly #entries = new Map<K, V>();

  constructor(readonly limit: number) {}

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  /** Sets an entry, which then counts as the newest. */
  set(key: K, value: V): void {
    this.#entries.delete(key);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.limit) break;
      this.#entries.delete(oldest);
    }
    this.#entries.set(key, value);
  }

  values(): IterableIterator<V> {
    return this.#entries.values();
  }

  /** Removes an entry and returns its value. */
  remove(key: K): V | undefined {
    const value = this.#entries.get(key);
    this.#entries.delete(key);
    return value;
  }

  clear(): void {
    this.#entries.clear();
  }
}

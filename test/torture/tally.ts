/** Results of the rounds: the numbers that `npm run torture` prints. */
export class Tally {
  readonly #counts = new Map<string, number>();
  /** Bytes that were transferred again in each round, by the kind of round. */
  readonly #repeatedBytes = new Map<string, number[]>();

  count(what: string, by = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
  }

  countRepeatedBytes(kind: string, bytes: number): void {
    this.#repeatedBytes.set(kind, [...(this.#repeatedBytes.get(kind) ?? []), bytes]);
  }

  get lines(): string[] {
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const repeated = [...this.#repeatedBytes].map(([kind, rounds]) => {
      const sorted = rounds.sort((a, b) => a - b);
      const at = (share: number): number =>
        sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
      return `${kind}, bytes transferred again per round: median ${at(0.5)}, 90th percentile ${at(0.9)}, maximum ${at(1)}`;
    });
    return [...counts.map(([what, times]) => `${what}: ${times}`), ...repeated];
  }
}

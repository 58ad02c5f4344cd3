/** What rounds came to: the figures that `npm run torture` prints. */
export class Tally {
  readonly #counts = new Map<string, number>();
  /** Bytes that were moved again in each round, by the kind of round. */
  readonly #again = new Map<string, number[]>();

  count(what: string, by = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
  }

  movedAgain(kind: string, bytes: number): void {
    this.#again.set(kind, [...(this.#again.get(kind) ?? []), bytes]);
  }

  get lines(): string[] {
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const again = [...this.#again].map(([kind, rounds]) => {
      const sorted = rounds.sort((a, b) => a - b);
      const at = (share: number): number =>
        sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
      return `${kind}, bytes moved again a round: median ${at(0.5)}, 90 of 100 within ${at(0.9)}, most ${at(1)}`;
    });
    return [...counts.map(([what, times]) => `${what}: ${times}`), ...again];
  }
}

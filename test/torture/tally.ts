/** What rounds came to: the figures that `npm run torture` prints. */
export class Tally {
  readonly #counts = new Map<string, number>();
  /** Bytes that were moved again, of each round. */
  readonly #again: number[] = [];

  count(what: string, by = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
  }

  movedAgain(bytes: number): void {
    this.#again.push(bytes);
  }

  get lines(): string[] {
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const again = [...this.#again].sort((a, b) => a - b);
    const at = (share: number): number =>
      again[Math.min(again.length - 1, Math.floor(again.length * share))] ?? 0;
    return [
      ...counts.map(([what, times]) => `${what}: ${times}`),
      `bytes moved again a round: median ${at(0.5)}, 90 of 100 within ${at(0.9)}, most ${at(1)}`,
    ];
  }
}

import { chanceOf } from '../support/fault-rules.js';

/** Randomness that a seed decides, so that a round that failed can be run again. */
export class Dice {
  #rolled = 0;

  constructor(readonly seed: string) {}

  /** From 0 up to 1. */
  roll(): number {
    return chanceOf(this.seed, 'dice', this.#rolled++);
  }

  /** A whole number from `least` up to `most`, both among them. */
  between(least: number, most: number): number {
    return least + Math.floor(this.roll() * (most - least + 1));
  }

  isLucky(chance: number): boolean {
    return this.roll() < chance;
  }

  pick<T>(all: readonly [T, ...T[]]): T {
    return all[this.between(0, all.length - 1)] ?? all[0];
  }
}

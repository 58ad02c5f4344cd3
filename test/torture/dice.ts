import { chanceOf } from '../support/fault-rules.js';

/** Pseudo-random choices derived from a seed, so that a failed round can be repeated. */
export class Dice {
  #rolled = 0;

  constructor(readonly seed: string) {}

  /** Returns a number from 0 up to, but not including, 1. */
  roll(): number {
    return chanceOf(this.seed, 'dice', this.#rolled++);
  }

  /** Returns an integer from `least` to `most`, inclusive. */
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

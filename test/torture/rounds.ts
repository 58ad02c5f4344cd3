import { exportRound } from './export-round.js';
import { fullDiskRound } from './full-disk-round.js';
import { importRound } from './import-round.js';
import { journeyRound } from './journey-round.js';
import { Dice } from './dice.js';
import type { Arena } from './arena.js';
import type { Tally } from './tally.js';
import type { Cleanup } from '../support/temp.js';

/** The kinds of rounds, by the names of the flags of `npm run torture`. */
export const rounds = {
  export: exportRound,
  import: importRound,
  journey: journeyRound,
  'full-disk': fullDiskRound,
} as const;

export type RoundKind = keyof typeof rounds;

/**
 * Runs one round with the choices of its seed, and cleans up.
 * @throws Error with the kind and the seed of a failed round; `cause` is the original error
 */
export async function playRound(kind: RoundKind, arena: Arena, seed: string, tally: Tally): Promise<void> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const scratch: Cleanup = { after: (work) => void cleanups.unshift(work) };
  arena.proxy.heal();
  arena.proxy.log.clear();
  try {
    await rounds[kind](scratch, arena, new Dice(seed), tally);
    tally.count(`${kind}: rounds`);
  } catch (error) {
    throw new Error(
      `${kind} round with seed ${seed}: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  } finally {
    for (const work of cleanups) await work();
  }
}

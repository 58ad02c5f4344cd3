import { before, describe, test } from 'node:test';
import { prepare, type Arena } from './arena.js';
import { cannotMount } from './full-disk-round.js';
import { playRound, type RoundKind } from './rounds.js';
import { Tally } from './tally.js';

/** The default seed of `npm run torture`: these rounds are the first of its rounds. */
const seed = '1';

describe('after any interruption, a rerun gives the same result as an undisturbed run', () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  let arena: Arena;
  const tally = new Tally();
  before(async () => {
    arena = await prepare({ after: (work) => void cleanups.unshift(work) }, 2_000_000);
  });
  const play = (kind: RoundKind, count: number, skip: string | false): void => {
    for (let at = 1; at <= count; at++)
      test(`${kind} round ${seed}/${at}`, { skip }, () => playRound(kind, arena, `${seed}/${at}`, tally));
  };
  play('export', 5, false);
  play('import', 3, false);
  play('journey', 6, false);
  play('full-disk', 1, cannotMount());
  test('clean up', async () => {
    for (const work of cleanups) await work();
  });
});

import { before, describe, test } from 'node:test';
import { prepare, type Arena } from './arena.js';
import { cannotMount } from './full-disk-round.js';
import { playRound, type RoundKind } from './rounds.js';
import { Tally } from './tally.js';

/** The short form of `npm run torture`, which goes on with the same seed. */
const seed = '1';

describe('whatever stops a run, the next one ends as if nothing had been', () => {
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
  play('full-disk', 1, cannotMount());
  test('clearing up', async () => {
    for (const work of cleanups) await work();
  });
});

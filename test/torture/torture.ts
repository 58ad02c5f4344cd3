/**
 * Interrupts and damages exports, imports and copies at random, and checks that a rerun gives the result of an undisturbed run.
 *
 *     npm run torture                             200 rounds of exports, 100 of imports and copies, 100 of what travels, 20 with full disks
 *     npm run torture -- --export 1000 --import 0 --journey 0 --full-disk 0
 *     npm run torture -- --seed 7                 other choices; a failed round prints the seed that repeats it
 *     npm run torture -- --only 'export 7/12'     only that round
 */
import { parseArgs } from 'node:util';
import { prepare } from './arena.js';
import { cannotMount } from './full-disk-round.js';
import { playRound, type RoundKind } from './rounds.js';
import { Tally } from './tally.js';

const { values } = parseArgs({
  options: {
    export: { type: 'string', default: '200' },
    import: { type: 'string', default: '100' },
    journey: { type: 'string', default: '100' },
    'full-disk': { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    'layer-bytes': { type: 'string', default: '4000000' },
  },
});

const cleanups: (() => Promise<void> | void)[] = [];
const tally = new Tally();
const failures: string[] = [];

async function play(kind: RoundKind, seed: string): Promise<void> {
  const arena = await stage;
  try {
    await playRound(kind, arena, seed, tally);
  } catch (error) {
    failures.push(String(error));
    console.error(error);
  }
}

const stage = prepare({ after: (work) => void cleanups.unshift(work) }, Number(values['layer-bytes']));
const started = Date.now();
try {
  if (values.only !== undefined) {
    const [kind = '', seed = ''] = values.only.split(' ');
    await play(kind as RoundKind, seed);
  } else {
    const reason = cannotMount();
    if (reason !== false) console.error(`no rounds with full disks: ${reason}`);
    const plan = {
      export: values.export,
      import: values.import,
      journey: values.journey,
      'full-disk': reason === false ? values['full-disk'] : '0',
    };
    for (const kind of Object.keys(plan) as RoundKind[])
      for (let at = 1; at <= Number(plan[kind]); at++) {
        await play(kind, `${values.seed}/${at}`);
        if (at % 10 === 0) console.error(`${kind}: ${at} of ${plan[kind]}, ${failures.length} failed`);
      }
  }
} finally {
  for (const work of cleanups) await work();
}
console.log(tally.lines.join('\n'));
console.log(`${failures.length} failed, ${Math.round((Date.now() - started) / 1000)} s`);
process.exitCode = failures.length === 0 ? 0 : 1;

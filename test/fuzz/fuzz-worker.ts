/** Plays the cases of `npm run fuzz` in a process of its own, so that neither a hang nor a crash stops the program that watches it. */
import { AirliftError } from '../../src/errors.js';
import { Dice } from '../torture/dice.js';
import { prepareCases, type Play } from './cases.js';

/** What the process reports. */
export interface FuzzMessage {
  /** The seed of a case that ended; undefined when the process is ready for the first one. */
  readonly seed?: string;
  readonly kind?: string;
  /** `refused: CODE`, `refused: problems`, `accepted, content unchanged`, `nothing changed`, or `FAILED: …`. */
  readonly outcome?: string;
  readonly milliseconds?: number;
  /** The most memory of the process so far (KiB). */
  readonly memory: number;
}

const refusals = ['damaged', 'input', 'unsupported', 'untrusted', 'usage', 'not-found'];

async function outcomeOf(play: Play, seed: string): Promise<string> {
  try {
    const made = await play(new Dice(seed));
    if (made === undefined) return 'nothing changed';
    if (!(await made.accepts())) return 'refused: problems';
    return (await made.mayPass()) ? 'accepted, content unchanged' : 'FAILED: accepted';
  } catch (error) {
    if (error instanceof AirliftError && refusals.includes(error.code)) return `refused: ${error.code}`;
    return `FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  }
}

const [, , dir = ''] = process.argv;
const plays = await prepareCases(dir);
// The rows of a catalog have the most to change.
const kinds = Object.keys(plays).flatMap((kind) =>
  kind.includes('rows of the catalog') ? Array<string>(5).fill(kind) : [kind],
) as [string, ...string[]];

function send(message: Omit<FuzzMessage, 'memory'>): void {
  process.send?.({ ...message, memory: process.resourceUsage().maxRSS });
}

process.on('message', (seed: string) => {
  // The kind is a part of the seed, so that a seed alone repeats its case.
  const kind = kinds[Number(/(\d+)$/.exec(seed)?.[1] ?? 0) % kinds.length] ?? kinds[0];
  const started = performance.now();
  void outcomeOf(plays[kind] as Play, seed).then((outcome) => {
    send({ seed, kind, outcome, milliseconds: performance.now() - started });
  });
});
process.on('disconnect', () => process.exit());
send({});

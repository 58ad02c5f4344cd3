/**
 * Changes bundles at random, and checks that `verify` accepts none whose content has changed, throws nothing but AirliftErrors, does not
 * hang, and keeps its memory bounded.
 *
 *     npm run fuzz                          300 cases
 *     npm run fuzz -- --cases 10000
 *     npm run fuzz -- --seed 7              other choices; a failed case prints the seed that repeats it
 *     npm run fuzz -- --only 7/42           only that case
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';

/** The longest that a case may take (ms), also on a busy machine. */
const longestCase = 120_000;
/** The most memory of the process (KiB, as `maxRSS` counts). */
const mostMemory = 500 * 1024;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const count = Number(values.cases);
if (!Number.isSafeInteger(count) || count < 1) throw new Error(`--cases ${values.cases}: want a number`);
const seeds =
  values.only === undefined
    ? Array.from({ length: count }, (_, at) => `${values.seed}/${at}`)
    : [values.only];

interface Message {
  readonly begun?: string;
  readonly seed?: string;
  readonly kind?: string;
  readonly outcome?: string;
}

const dir = mkdtempSync(join(tmpdir(), 'airlift-fuzz-'));
const counts = new Map<string, number>();
const failures: string[] = [];
let done = 0;
console.log(`seeds ${seeds[0]} to ${seeds.at(-1)}`);

/** Counts the cases that ended, prints them, and ends the program. */
function finish(): never {
  const [most] = [process.resourceUsage().maxRSS];
  if (most > mostMemory) failures.push(`memory: ${most} KiB, want at most ${mostMemory}`);
  for (const [what, times] of [...counts].sort()) console.log(`${String(times).padStart(6)}  ${what}`);
  console.log(`${done} cases, ${failures.length} failed, ${Math.round(most / 1024)} MiB of memory at most`);
  for (const failure of failures) console.log(failure);
  rmSync(dir, { recursive: true, force: true });
  process.exit(failures.length > 0 || done < seeds.length ? 1 : 0);
}

const worker = new Worker(new URL('./fuzz-worker.js', import.meta.url), { workerData: { dir, seeds } });
let current = '';
const watch = setTimeout(() => {
  failures.push(`seed ${current}: no end after ${longestCase} ms`);
  finish();
}, longestCase);
worker.on('message', ({ begun, seed, kind, outcome }: Message) => {
  watch.refresh();
  if (begun !== undefined) current = begun;
  if (seed === undefined || outcome === undefined) return;
  done++;
  const line = `${kind}: ${outcome.startsWith('FAILED') ? 'FAILED' : outcome}`;
  counts.set(line, (counts.get(line) ?? 0) + 1);
  if (outcome.startsWith('FAILED')) failures.push(`seed ${seed} (${kind}): ${outcome}`);
  if (done % 500 === 0) console.error(`${done} of ${seeds.length}, ${failures.length} failed`);
});
worker.on('error', (error) => {
  failures.push(`seed ${current}: ${error.stack ?? error.message}`);
  finish();
});
worker.on('exit', finish);
process.on('SIGINT', finish);
process.on('SIGTERM', finish);

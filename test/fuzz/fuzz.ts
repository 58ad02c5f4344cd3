/**
 * Changes bundles, volumes, signatures, receipts and requests at random, and checks that airlift accepts none whose content has changed,
 * throws nothing but AirliftErrors, does not hang, and keeps its memory bounded.
 *
 *     npm run fuzz                          300 cases
 *     npm run fuzz -- --cases 10000
 *     npm run fuzz -- --jobs 4              processes; default: the number of cores, at most 2
 *     npm run fuzz -- --seed 7              other choices; a failed case prints the seed that repeats it
 *     npm run fuzz -- --only 7/42           only that case
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { FuzzMessage } from './fuzz-worker.js';

/** The longest that a case may take (ms), also on a busy machine. */
const longestCase = 120_000;
/** The most memory of a process (KiB, as `maxRSS` counts). */
const mostMemory = 500 * 1024;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '300' },
    jobs: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});

function numberOf(name: 'cases' | 'jobs'): number {
  const count = Number(values[name]);
  if (!Number.isSafeInteger(count) || count < 1) throw new Error(`--${name} ${values[name]}: want a number`);
  return count;
}

const total = values.only === undefined ? numberOf('cases') : 1;
const seedOf = (at: number): string => values.only ?? `${values.seed}/${at}`;
const dir = mkdtempSync(join(tmpdir(), 'airlift-fuzz-'));
const counts = new Map<string, number>();
const failures: string[] = [];
let next = 0;
let done = 0;
let memory = 0;
let longest = 0;
console.log(`seeds ${seedOf(0)} to ${seedOf(total - 1)}`);

function fail(failure: string): void {
  failures.push(failure);
  console.error(failure);
}

/** Counts the cases that ended, prints them, and ends the program. */
function finish(): never {
  if (memory > mostMemory) failures.push(`memory: ${memory} KiB, want at most ${mostMemory}`);
  for (const [what, times] of [...counts].sort()) console.log(`${String(times).padStart(6)}  ${what}`);
  const outcomes = new Map<string, number>();
  for (const [what, times] of counts) {
    const outcome = what.slice(what.lastIndexOf(' → ') + 3).replace(/:.*/, '');
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + times);
  }
  for (const [what, times] of outcomes) console.log(`${String(times).padStart(6)}  ${what}`);
  console.log(
    `${done} cases, ${failures.length} failed, ${Math.round(memory / 1024)} MiB of memory at most, ${Math.round(longest)} ms the longest`,
  );
  for (const failure of failures) console.log(failure);
  rmSync(dir, { recursive: true, force: true });
  process.exit(failures.length > 0 || done < total ? 1 : 0);
}

/** Starts processes that play cases, one after the other, until there are no more. A process that ends early is replaced. */
async function start(): Promise<void> {
  while (!(await play()) && next < total) continue;
}

/** Plays cases in a process; returns false if the process ends before it is told to. */
function play(): Promise<boolean> {
  const own = mkdtempSync(join(dir, 'process-'));
  const child: ChildProcess = fork(fileURLToPath(new URL('./fuzz-worker.js', import.meta.url)), [own]);
  let current: string | undefined;
  const watch = setTimeout(() => {
    fail(`seed ${current}: no end after ${longestCase} ms`);
    child.kill('SIGKILL');
  }, longestCase);
  child.on('message', ({ seed, kind, outcome = '', milliseconds = 0, ...more }: FuzzMessage) => {
    watch.refresh();
    memory = Math.max(memory, more.memory);
    if (seed !== undefined) {
      done++;
      longest = Math.max(longest, milliseconds);
      const line = `${kind} → ${outcome.startsWith('FAILED') ? 'FAILED' : outcome}`;
      counts.set(line, (counts.get(line) ?? 0) + 1);
      if (outcome.startsWith('FAILED')) fail(`seed ${seed} (${kind}): ${outcome}`);
      if (done % 500 === 0) console.error(`${done} of ${total}, ${failures.length} failed`);
    }
    current = undefined;
    if (next >= total) return child.disconnect();
    current = seedOf(next++);
    child.send(current);
  });
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      clearTimeout(watch);
      if (current !== undefined) fail(`seed ${current}: the process ended (${signal ?? code})`);
      resolve(current === undefined && code === 0);
    });
  });
}

process.on('SIGINT', finish);
process.on('SIGTERM', finish);
await Promise.all(Array.from({ length: Math.min(numberOf('jobs'), total) }, () => start()));
finish();

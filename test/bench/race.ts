import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../support/peers.js';
import { measure, usageOf, type Measured } from './measure.js';
import type { ContenderResult } from './results.js';

/** One way to do the work of a row. */
export interface Contender extends Omit<ContenderResult, 'runs'> {
  /** Prepares a run, which is not measured: removes old output, starts an empty registry. */
  prepare(): Promise<Run> | Run;
}

export interface Run {
  readonly command: readonly string[];
  /** How often the command does the work (default: 1). The figures are those of one time. */
  readonly repeats?: number;
  /** Process of the server that the row compares. CPU time and memory are then those of the server, not of the command. */
  readonly server?: number;
  /** Compares the result with the source. Called in the first round. */
  readonly check?: () => Promise<void>;
  /** Stops the registry and removes the output. */
  readonly end?: () => Promise<void> | void;
}

export interface RaceOptions {
  readonly rounds: number;
  /** Directory for temporary files and state of the tools; both are empty at each start. */
  readonly dir: string;
  /** Whether the output is on a disk, so that data of other runs must be written before each run. */
  readonly isOnDisk: boolean;
  readonly onRun: (round: number, title: string, measured: Measured) => void;
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

type Usage = ReturnType<typeof usageOf>;

function since(before: Usage, after: Usage): Usage {
  return { user: after.user - before.user, cpu: after.cpu - before.cpu, memory: after.memory };
}

async function runOnce(contender: Contender, isChecked: boolean, options: RaceOptions): Promise<Measured> {
  const [tmp, state] = [join(options.dir, 'tmp'), join(options.dir, 'state')];
  // Without the layer cache of earlier runs, each import is the first one.
  const cache = join(options.dir, 'cache');
  for (const dir of [tmp, state, cache]) {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
  }
  const prepared = await contender.prepare();
  try {
    if (options.isOnDisk) await run('sync', []);
    const { server } = prepared;
    const before = server === undefined ? undefined : usageOf(server);
    const env = { TMPDIR: tmp, XDG_STATE_HOME: state, XDG_CACHE_HOME: cache };
    const own = await measure(prepared.command, env);
    const { wall, user, cpu, memory } =
      server === undefined || before === undefined ? own : { ...own, ...since(before, usageOf(server)) };
    if (isChecked) await prepared.check?.();
    const repeats = prepared.repeats ?? 1;
    return {
      wall: rounded(wall / repeats),
      user: rounded(user / repeats),
      cpu: rounded(cpu / repeats),
      memory: rounded(memory),
    };
  } finally {
    await prepared.end?.();
  }
}

/** Measures contenders round by round. The first contender changes from round to round. */
export async function race(
  contenders: readonly Contender[],
  options: RaceOptions,
): Promise<ContenderResult[]> {
  const results = contenders.map(({ tool, kind, title, does }) => ({
    tool,
    kind,
    title,
    does,
    runs: [] as Measured[],
  }));
  for (let round = 0; round < options.rounds; round++) {
    for (let step = 0; step < contenders.length; step++) {
      const at = (step + round) % contenders.length;
      const contender = contenders[at];
      if (contender === undefined) continue;
      const measured = await runOnce(contender, round === 0, options);
      results[at]?.runs.push(measured);
      options.onRun(round, contender.title, measured);
    }
  }
  return results;
}

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peerPath, run } from '../support/peers.js';

/** What the operating system says one run took. */
export interface Measured {
  /** Seconds. */
  readonly wall: number;
  /** Seconds of processor time, user and system, of the process and all its children. */
  readonly cpu: number;
  /** The most memory that one of the processes held, in MiB. */
  readonly memory: number;
}

/** Ticks of processor time that Linux counts in a second. */
const ticksPerSecond = 100;

/** What a process that is running has taken so far. */
export function soFar(pid: number): Pick<Measured, 'cpu' | 'memory'> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The fields behind the name, which may hold anything: proc(5) counts user and system time as the 14th and 15th.
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return { cpu: (Number(user) + Number(system)) / ticksPerSecond, memory: Number(kib) / 1024 };
}

/** Runs a program under GNU time. */
export async function measure(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<Measured> {
  const dir = mkdtempSync(join(tmpdir(), 'airlift-bench-'));
  try {
    const report = join(dir, 'time');
    const options = { timeout: 1_800_000, env: { ...env, NO_COLOR: '1' } };
    await run(peerPath('time'), ['-f', '%e %U %S %M', '-o', report, '--', ...command], options);
    const [wall = 0, user = 0, system = 0, kib = 0] = readFileSync(report, 'utf8')
      .trim()
      .split(' ')
      .map(Number);
    return { wall, cpu: user + system, memory: kib / 1024 };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The middle one of several numbers, or the mean of the two in the middle. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

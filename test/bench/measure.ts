import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { peerPath, run } from '../support/peers.js';

/** Resources that one run used, as reported by the operating system. */
export interface Measured {
  /** Seconds. */
  readonly wall: number;
  /** Seconds of processor time in user mode, of the process and all its children. */
  readonly user: number;
  /** Seconds of processor time, user and system, of the process and all its children. */
  readonly cpu: number;
  /** Peak memory of the largest process, in MiB. */
  readonly memory: number;
}

/** Clock ticks per second in /proc (USER_HZ). */
const ticksPerSecond = 100;

/** Returns the resources that a running process has used so far. */
export function usageOf(pid: number): Omit<Measured, 'wall'> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Fields after the name, which may contain blanks and parentheses. User and system time are fields 14 and 15 (proc(5)).
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return {
    user: Number(user) / ticksPerSecond,
    cpu: (Number(user) + Number(system)) / ticksPerSecond,
    memory: Number(kib) / 1024,
  };
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
    return { wall, user, cpu: user + system, memory: kib / 1024 };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Returns the median. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

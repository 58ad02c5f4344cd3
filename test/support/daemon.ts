import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { peer } from './peers.js';

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface Daemon {
  readonly pid: number;
  /** Path of the file with its output. */
  readonly log: string;
  /** Sends SIGTERM, waits for the end, and kills the process after 10 seconds. */
  stop(): Promise<void>;
  /** Kills the process immediately, like a power failure. */
  kill(): Promise<void>;
}

/**
 * Starts a server program and waits until `ready` returns a value. The program ends with this process at the latest, even if
 * this process is killed (with `setpriv --pdeathsig`, if installed).
 * @param options.ready polled with the log so far; its value is returned as `answer`
 */
export async function startDaemon<T>(
  command: string,
  args: readonly string[],
  options: {
    readonly log: string;
    readonly ready: (log: string) => Promise<T | undefined> | T | undefined;
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
  },
): Promise<Daemon & { readonly answer: T }> {
  const out = openSync(options.log, 'w');
  const guard = peer('setpriv');
  const words = [...(guard === undefined ? [] : [guard, '--pdeathsig', 'KILL', '--']), command, ...args];
  const child = spawn(words[0] ?? command, words.slice(1), {
    cwd: options.cwd,
    stdio: ['ignore', out, out],
    env: { ...process.env, ...options.env },
  });
  closeSync(out);
  running.add(child);
  // The test file ends even if it fails before it stops its servers; the servers end with it.
  child.unref();
  const ended = new Promise<string>((done) => {
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(`ended with ${signal ?? code}`));
  });
  let end: string | undefined;
  void ended.then((reason) => {
    end = reason;
    running.delete(child);
  });
  const kill = async (): Promise<void> => {
    child.ref();
    child.kill('SIGKILL');
    await ended;
  };
  const stop = async (): Promise<void> => {
    child.ref();
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  };
  const deadline = Date.now() + 60_000;
  for (;;) {
    const log = readFileSync(options.log, 'utf8');
    const answer = end === undefined ? await options.ready(log) : undefined;
    if (answer !== undefined) return { pid: child.pid ?? 0, log: options.log, stop, kill, answer };
    if (end !== undefined || Date.now() > deadline) {
      await kill();
      throw new Error(`${command}: ${end ?? 'did not answer within 60 seconds'}\n${log.slice(-4000)}`);
    }
    await sleep(20);
  }
}

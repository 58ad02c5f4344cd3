import { spawn } from 'node:child_process';
import { airliftPath, stateEnv } from './airlift.js';

/** How a program ended, and its output. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running airlift process. */
export interface Started {
  readonly pid: number;
  /** Returns the standard error so far. */
  stderr(): string;
  send(signal: NodeJS.Signals): void;
  /** Writes to standard input; requires `isAsked`. Undefined ends it. */
  type(text: string | undefined): void;
  readonly ended: Promise<Ended>;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Give the program a pipe as standard input; default: nothing to read. */
  readonly isAsked?: boolean;
}

/** Starts an airlift command line in its own process, for tests that stop or kill it. It is killed after five minutes. */
export function startAirlift(args: readonly string[], options: StartOptions = {}): Started {
  const child = spawn(process.execPath, [airliftPath, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...stateEnv, ...options.env },
    stdio: [options.isAsked === true ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    timeout: 300_000,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  // A write to a program that has ended fails; its end tells why.
  child.stdin?.on('error', () => undefined);
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Ended>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code, signal) => done({ code, signal, stdout, stderr }));
  });
  return {
    pid: child.pid ?? 0,
    stderr: () => stderr,
    send: (signal) => void child.kill(signal),
    type: (text) => void (text === undefined ? child.stdin?.end() : child.stdin?.write(text)),
    ended,
  };
}

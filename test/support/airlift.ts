import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Request, Response } from './airlift-host.js';
import { run, type RunResult, type RunOptions } from './peers.js';

/** Path of the program, relative to `dist/test/support`. */
export const airliftPath = fileURLToPath(new URL('../../../bin/airlift.js', import.meta.url));

const hostPath = fileURLToPath(new URL('./airlift-host.js', import.meta.url));

const state = mkdtempSync(join(tmpdir(), 'airlift-state-'));
process.once('exit', () => rmSync(state, { recursive: true, force: true }));

/** Environment that keeps the resume state of tests apart from the user's. */
export const stateEnv = { XDG_STATE_HOME: state };

/** Runs an airlift command line in its own process. Fails if the exit code is not in `codes` (default: `[0]`). */
export function airliftProcess(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run(process.execPath, [airliftPath, ...args], {
    ...options,
    env: { ...stateEnv, ...options.env },
  });
}

/** Host processes that currently run no command. */
const idle: ChildProcess[] = [];

function startHost(): ChildProcess {
  const host = fork(hostPath, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
  // The host ends with the process of the test.
  host.unref();
  return host;
}

function request(host: ChildProcess, message: Request, milliseconds: number): Promise<Response> {
  return new Promise<Response>((done, fail) => {
    const end = (error: Error): void => {
      host.kill('SIGKILL');
      fail(error);
    };
    const name = message.args.join(' ');
    const timer = setTimeout(
      () => end(new Error(`airlift ${name}: not ended after ${milliseconds} ms`)),
      milliseconds,
    );
    const onExit = (code: number | null, signal: NodeJS.Signals | null): void =>
      end(new Error(`airlift ${name}: ended the process that ran it (${signal ?? code})`));
    host.once('exit', onExit);
    host.once('message', (response: Response) => {
      clearTimeout(timer);
      host.off('exit', onExit);
      host.channel?.unref();
      done(response);
    });
    host.channel?.ref();
    host.send(message);
  });
}

/** Reports whether a command line needs its own process: it pipes an archive, or sets variables that Node.js reads at startup. */
function needsProcess(args: readonly string[], options: RunOptions): boolean {
  if (process.env['AIRLIFT_TEST_PROCESSES'] === '1') return true;
  const isStartVariable = (name: string): boolean => /^(NODE_|UV_)/.test(name);
  return args.includes('-') || Object.keys(options.env ?? {}).some(isStartVariable);
}

/**
 * Runs an airlift command line. Fails if the exit code is not in `codes` (default: `[0]`). Starting Node.js and loading airlift
 * costs half a second of CPU time, so one process runs all command lines of a test file, each as bin/airlift.js would. Fails if a
 * command leaves a resource open that would keep a process alive. `AIRLIFT_TEST_PROCESSES=1` starts a process per command line.
 */
export async function airlift(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  if (needsProcess(args, options)) return airliftProcess(args, options);
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...process.env, ...stateEnv, ...options.env }))
    if (value !== undefined) env[name] = value;
  const host = idle.pop() ?? startHost();
  const input = Buffer.from(options.input ?? '');
  const message = { args, cwd: options.cwd ?? process.cwd(), env, input };
  const response = await request(host, message, options.timeout ?? 300_000);
  idle.push(host);
  const bytes = Buffer.from(response.stdout);
  const stdout = bytes.toString('utf8');
  const stderr = Buffer.from(response.stderr).toString('utf8');
  const { code, faults } = response;
  if (faults.length > 0 || !(options.codes ?? [0]).includes(code)) {
    const output = (stderr.trim() === '' ? stdout : stderr).slice(-4000);
    throw new Error([`airlift ${args.join(' ')}: ended with ${code}`, ...faults, output].join('\n'));
  }
  return { code, stdout, stderr, bytes };
}

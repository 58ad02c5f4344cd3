import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import type { Writable } from 'node:stream';
import { AirliftError, checkInterrupted, messageOf, systemCodeOf } from '../errors.js';

/** Bytes of an answer, and of an error text, that are kept. */
const maxAnswer = 64 * 1024 * 1024;
const maxErrorText = 64 * 1024;
/** The last lines of an error text, and characters of each, that a message shows. */
const maxErrorLines = 4;
const maxLineLength = 400;
/** Milliseconds that a program has to end by itself after its input was cut off. */
const endTimeout = 400;

/** The hint for a user who may not use the engine. */
export const permissionHint = 'run airlift as a user who may use the engine: sudo airlift load …';

/** Returns the hint for an engine that cannot be reached. */
export function startHint(start: string): string {
  return `start the engine: ${start}; or name its socket with \`address\``;
}

/** The exit code of a program and what it wrote. */
interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** The engine in messages. */
  readonly label: string;
  /** The program and its first arguments. */
  readonly command: readonly [string, ...string[]];
  /** The command that starts the engine, for hints. */
  readonly start: string;
  readonly signal?: AbortSignal | undefined;
}

/** The command line program of an engine. */
export class Program {
  constructor(private readonly options: ProgramOptions) {}

  /** Returns the program with more arguments before those of each call. */
  with(...args: readonly string[]): Program {
    const { command } = this.options;
    return new Program({ ...this.options, command: [...command, ...args] });
  }

  /**
   * Runs the program and returns its standard output.
   * @param isPartial whether an exit code other than 0 means a partial answer
   * @throws AirliftError `engine` if the program is missing or fails; `interrupted`
   */
  async ask(args: readonly string[], isPartial = false): Promise<string> {
    const ended = await this.#run(args);
    if (ended.code !== 0 && !(isPartial && ended.stdout.trim() !== '')) throw this.#failure(args, ended);
    return ended.stdout;
  }

  /**
   * Runs the program with what `write` writes as its standard input.
   * @throws AirliftError `engine` if the program is missing or fails; `interrupted`; errors of `write`
   */
  async feed(args: readonly string[], write: (to: Writable) => Promise<void>): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    const ended = await this.#run(args, async (to) => {
      try {
        await write(to);
      } catch (error) {
        failure = { error };
        // Without the end of the archive, no engine gives an image its name.
        to.destroy();
      }
    });
    // A program that fails closes its input, which is not the reason.
    const isPipe = failure !== undefined && isBrokenPipe(failure.error);
    if (failure !== undefined && !(isPipe && ended.code !== 0)) throw failure.error;
    if (ended.code !== 0) throw this.#failure(args, ended);
  }

  async #run(args: readonly string[], write?: (to: Writable) => Promise<void>): Promise<Ended> {
    const { command, signal, label } = this.options;
    const [name, ...first] = command;
    checkInterrupted(signal, `load into ${label}`);
    const child = spawn(name, [...first, ...args], { stdio: 'pipe' });
    const stdout = collect(child.stdout, maxAnswer);
    const stderr = collect(child.stderr, maxErrorText);
    let timer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      child.stdin.destroy();
      timer = setTimeout(() => child.kill(), endTimeout);
    };
    signal?.addEventListener('abort', stop, { once: true });
    try {
      child.stdin.on('error', () => undefined);
      const ended = endOf(child);
      const written = write?.(child.stdin) ?? Promise.resolve();
      const [code] = await Promise.all([ended, written.then(() => child.stdin.end())]);
      checkInterrupted(signal, `load into ${label}`);
      return { code, stdout: stdout(), stderr: stderr() };
    } catch (error) {
      throw this.#startFailure(error);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }

  #startFailure(error: unknown): unknown {
    const { command, label } = this.options;
    const code = systemCodeOf(error);
    if (error instanceof AirliftError || code === undefined) return error;
    const what = code === 'ENOENT' ? 'it is not installed, or not in PATH' : messageOf(error);
    return new AirliftError('engine', `load into ${label}: run ${command[0]}: ${what}`, {
      hint: `install ${command[0]}, or choose another engine with \`engine\``,
      cause: error,
    });
  }

  #failure(args: readonly string[], { code, stdout, stderr }: Ended): AirliftError {
    const { command, label, start } = this.options;
    const text = stderr.trim() === '' ? stdout : stderr;
    const lines = text.trim().split('\n').slice(-maxErrorLines);
    const why = lines.map((line) => line.trim().slice(0, maxLineLength)).join('; ');
    const verb = args.slice(0, 2).filter((arg) => /^[a-z]+$/.test(arg));
    const what = [command[0], ...verb].join(' ');
    return new AirliftError(
      'engine',
      `load into ${label}: ${what}: ${why === '' ? `ended with exit code ${code}` : why}`,
      { hint: hintOf(why, start) },
    );
  }
}

/** Returns the next step for the error text of an engine's program. */
function hintOf(why: string, start: string): string | undefined {
  if (/permission denied|must be root|insufficient permissions/i.test(why)) return permissionHint;
  if (/no space left/i.test(why))
    return 'free space in the data directory of the engine, then run airlift again';
  if (
    /cannot connect|failed to dial|connection refused|connection error|no such file or directory/i.test(why)
  )
    return startHint(start);
  return undefined;
}

function isBrokenPipe(error: unknown): boolean {
  const cause = error instanceof AirliftError ? error.cause : error;
  return ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED'].includes(systemCodeOf(cause) ?? '');
}

function endOf(child: ChildProcessWithoutNullStreams): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
}

function collect(stream: NodeJS.ReadableStream, limit: number): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.byteLength;
    if (size <= limit) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

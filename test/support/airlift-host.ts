/** A process that runs one airlift command line after the other, each with its own environment and folder. See airlift.ts. */
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { main } from '../../src/cli/main.js';

/** What to run, as airlift.ts sends it. */
export interface Request {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** What standard input holds. */
  readonly input: Uint8Array;
}

export interface Response {
  readonly code: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** What a process of its own would have failed by: uncaught errors, and resources that keep it from ending. */
  readonly faults: readonly string[];
}

/** Milliseconds that a finished command has to release what keeps a process alive. */
const mostMilliseconds = 10_000;

let out: Buffer[] = [];
let err: Buffer[] = [];
let faults: string[] = [];

/** Collects what is written to a stream, as a pipe whose reader keeps up. */
function collect(stream: NodeJS.WriteStream, add: (chunk: Buffer) => void): void {
  const write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    add(Buffer.from(chunk as string));
    for (const done of rest) if (typeof done === 'function') (done as () => void)();
    return true;
  };
  stream.write = write as typeof stream.write;
}

collect(process.stdout, (chunk) => out.push(chunk));
collect(process.stderr, (chunk) => err.push(chunk));
process.on('uncaughtException', (error) => faults.push(`uncaught: ${error.stack}`));
process.on('unhandledRejection', (error) =>
  faults.push(`unhandled: ${error instanceof Error ? error.stack : String(error)}`),
);

/** Resources that keep the process alive, apart from the channel to the test. */
function keptAlive(): string[] {
  const own = ['PipeWrap', 'TickObject', 'Immediate'];
  return process.getActiveResourcesInfo().filter((name) => !own.includes(name));
}

/** Waits until nothing that the command started keeps a process alive. */
async function released(): Promise<void> {
  const deadline = Date.now() + mostMilliseconds;
  for (let wait = 1; keptAlive().length > 0; wait = Math.min(50, wait * 2)) {
    if (Date.now() > deadline) {
      faults.push(`does not end: ${keptAlive().join(', ')}`);
      return;
    }
    await delay(wait, undefined, { ref: false });
  }
}

async function answer({ args, cwd, env, input }: Request): Promise<Response> {
  out = [];
  err = [];
  faults = [];
  for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
  Object.assign(process.env, env);
  process.chdir(cwd);
  const stdin = Readable.from(input.length === 0 ? [] : [Buffer.from(input)], { objectMode: false });
  Object.defineProperty(process, 'stdin', { value: stdin, configurable: true });
  const code = await main(args);
  await released();
  process.chdir('/');
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err), faults };
}

process.on('message', (request: Request) => {
  void answer(request).then((response) => process.send?.(response));
});
process.on('disconnect', () => process.exit(0));

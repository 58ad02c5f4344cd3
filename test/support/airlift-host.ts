/** Runs airlift command lines one after the other in one process, each with its own environment and directory. See airlift.ts. */
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { main } from '../../src/cli/main.js';

/** A command line to run, as airlift.ts sends it. */
export interface Request {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** The content of standard input. */
  readonly input: Uint8Array;
}

export interface Response {
  readonly code: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Reasons why a separate process would have failed: uncaught errors, and open resources that would keep it alive. */
  readonly faults: readonly string[];
}

/** Milliseconds in which a finished command must close its resources. */
const releaseMilliseconds = 10_000;

let out: Buffer[] = [];
let err: Buffer[] = [];
let faults: string[] = [];

/** Collects everything written to a stream, as a pipe with a fast reader would. */
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

/** Returns the resources that keep the process alive, except for the channel to the test. */
function openResources(): string[] {
  const own = ['PipeWrap', 'TickObject', 'Immediate'];
  return process.getActiveResourcesInfo().filter((name) => !own.includes(name));
}

/** Waits until the command has closed all resources that would keep a process alive. */
async function waitForRelease(): Promise<void> {
  const deadline = Date.now() + releaseMilliseconds;
  for (let wait = 1; openResources().length > 0; wait = Math.min(50, wait * 2)) {
    if (Date.now() > deadline) {
      faults.push(`does not end: ${openResources().join(', ')}`);
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
  await waitForRelease();
  process.chdir('/');
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err), faults };
}

process.on('message', (request: Request) => {
  void answer(request).then((response) => process.send?.(response));
});
process.on('disconnect', () => process.exit(0));

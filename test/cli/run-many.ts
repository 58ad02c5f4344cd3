/** Reads command lines as JSON from a file, runs them in one process, and prints the exit code and output of each as JSON. */
import { readFileSync } from 'node:fs';
import { main } from '../../src/cli/main.js';

export interface Outcome {
  readonly args: readonly string[];
  readonly code: number | 'no end';
  /** Standard output and standard error. */
  readonly output: string;
}

const timeoutMilliseconds = 20_000;
const lines = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as string[][];
const outcomes: Outcome[] = [];
const write = process.stdout.write.bind(process.stdout);
let output = '';
const capture = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
  output += String(chunk);
  for (const done of rest) if (typeof done === 'function') (done as () => void)();
  return true;
};
process.stdout.write = capture as typeof process.stdout.write;
process.stderr.write = capture as typeof process.stderr.write;
process.on('uncaughtException', (error) => (output += `uncaught: ${error.stack}`));
process.on('unhandledRejection', (error) => (output += `unhandled: ${String(error)}`));

for (const args of lines) {
  output = '';
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'no end'>(
    (done) => (timer = setTimeout(() => done('no end'), timeoutMilliseconds)),
  );
  const code = await Promise.race([main(args), late]);
  clearTimeout(timer);
  outcomes.push({ args, code, output });
}
process.stdout.write = write;
process.stdout.write(JSON.stringify(outcomes), () => process.exit(0));

#!/usr/bin/env node
import { statSync } from 'node:fs';

/** Returns the time of the last change of a file in milliseconds, 0 if there is none. */
function changed(path) {
  return statSync(new URL(path, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Returns the module of the command line: built, or in a checkout the compiled one if tsc has changed files since the last build. */
function commandLine() {
  const built = '../dist/cli/main.js';
  return changed(built) >= changed('../dist/.tsbuildinfo') ? built : '../dist/src/cli/main.js';
}

/** Prints an uncaught error on one line, without a stack, and ends the process. */
function fail(error, hint) {
  const message = error instanceof Error ? error.message.split('\n')[0] : String(error);
  process.stderr.write(`airlift: ${message}\n  hint: ${hint}\n`);
  if (process.env.AIRLIFT_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}

const args = process.argv.slice(2);
let main;
let parser;
try {
  const cli = await import(commandLine());
  main = cli.main;
  parser = await cli.parser(args);
} catch (error) {
  fail(
    error,
    'airlift cannot be loaded: reinstall it with npm install -g, or in a checkout run npm run build',
  );
}
// A write beyond `ulimit -f` then fails with EFBIG, which airlift reports with a hint, instead of ending the process.
process.on('SIGXFSZ', () => undefined);
process.on('uncaughtException', (error) =>
  fail(error, 'this is a bug in airlift; set AIRLIFT_DEBUG=1 to print the stack trace'),
);
const code = await main(args, parser);
// After Ctrl-C the process does not wait for open lookups and connections.
if (code === 130) process.exit(code);
process.exitCode = code;

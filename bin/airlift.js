#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

/** Prints an error that nothing caught, in one line without a stack, and ends the process. */
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
  const cli = await import('../dist/src/cli/main.js');
  main = cli.main;
  parser = await cli.parser(args);
} catch (error) {
  fail(
    error,
    'airlift cannot be loaded: install it again (npm install -g), from a checkout npm run build first',
  );
}
// Collects garbage when the heap has grown by a third, not fourfold, so that memory stays flat for any number of images. Set only now: while
// modules load, it would cost a tenth of the start. It goes when transfers read and write with reused buffers.
setFlagsFromString('--heap-growing-percent=30');
// Beyond `ulimit -f` a write fails with EFBIG, which says what to do, instead of ending the process.
process.on('SIGXFSZ', () => undefined);
process.on('uncaughtException', (error) =>
  fail(error, 'this is a fault of airlift itself; AIRLIFT_DEBUG=1 shows where it happened'),
);
const code = await main(args, parser);
// After Ctrl-C the process does not wait for open lookups and connections.
if (code === 130) process.exit(code);
process.exitCode = code;
